"""The small process that owns one run: it starts the command, keeps its log, and sees it out.

It outlives the agent: what it was asked to do it finishes alone, and what it knows is in the run
directory (`records`). A run with a lease it ends by itself unless the agent renews it in time: all
of it is gone by the end of the lease plus the grace of its spec, as long as the shim itself is not
stopped (SIGSTOP) or killed. One thread, no event loop, nothing beyond the standard library: some
hundred kilobytes of private memory, forked from the spawner.

    claim → fork (child waits) → shim.json → go → exec → log, reap, stop → exit.json → gone
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time

from cnet.supervision import linux, procfs, records
from cnet.supervision.command import Command
from cnet.supervision.log_pump import LogPump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cnet.supervision.cgroups import Cgroups
    from cnet.supervision.lease import Lease

LEFTOVER_GRACE_S = 2.0  # for what the command leaves behind when it ends by itself
KILL_INTERVAL_S = 0.02  # between rounds of killing: a fork may have slipped through
RETRY_RECORD_S = 0.2  # until the disk takes the exit record


def serve(
    key: str,
    *,
    root: str,
    agent: socket.socket,
    spawner_lock: int,
    cgroups: Cgroups,
    boot_id: str,
) -> None:
    """Run the run directory `key` (below `root`) from claim to exit record, in this process.

    Returns at once, having done nothing, when the run was claimed before. SIGTERM and SIGCHLD must
    be blocked by the caller.
    """
    directory = f"{root}/{key}"
    signal.signal(linux.SIGCHLD, signal.SIG_DFL)
    claim = records.claim(directory)
    if claim is None:
        return
    os.setsid()
    linux.set_process_name("cnet-shim")
    linux.set_child_subreaper()
    spec = records.read_json(directory, records.SPEC)
    if spec is None:
        raise RuntimeError(f"{directory}/{records.SPEC} is missing or unreadable")
    command = Command()
    command.start(
        spec, directory=directory, cgroups=cgroups, spawner_lock=spawner_lock, boot_id=boot_id
    )
    shim = Shim(spec, command, directory=directory)
    if command.failure is None:
        shim.announce(agent, key)
    shim.watch()
    shim.conclude()


class Shim:
    """The watch over one started command. Everything happens in the one thread that calls it."""

    def __init__(self, spec: dict[str, Any], command: Command, *, directory: str) -> None:
        log = spec["log"]
        self._command = command
        self._directory = directory
        self._grace_s: float = spec["grace_s"]
        self._status: int | None = None  # of the command, as by waitpid
        self._ended_at: float | None = None
        self._stop_asked = False
        self._terminated = False  # SIGTERM went out to the tree
        self._deadline: float | None = None  # monotonic; from then on SIGKILL
        self._cpu_s = 0.0
        self._max_rss_bytes = 0
        self._tree_lives = command.pid != 0
        self._lease_over = False  # decided: no renewal counts any more
        self._expired = False  # that is what ended the command
        self._unsent: tuple[socket.socket, bytes] | None = None
        self._signals = linux.signal_fd((linux.SIGTERM, linux.SIGCHLD))
        self._poll = select.poll()
        self._poll.register(self._signals, select.POLLIN)
        self._pump: LogPump | None = None
        if command.output >= 0:
            self._pump = LogPump(
                command.output, log["path"], max_bytes=log["max_bytes"], files=log["files"]
            )
            self._poll.register(command.output, select.POLLIN)
        if command.lease is not None:
            self._poll.register(command.lease.fd, select.POLLIN)
        if command.failure is not None:
            self._deadline = time.monotonic()  # whatever was forked has nothing to finish

    def announce(self, agent: socket.socket, key: str) -> None:
        """Tell the agent that the command runs; one that has died finds the record instead."""
        self._unsent = (agent, f"started {key}".encode())
        self._send()
        if self._unsent is not None:
            self._poll.register(agent.fileno(), select.POLLOUT)

    def _send(self) -> None:
        if self._unsent is None:
            return
        agent, word = self._unsent
        try:
            agent.send(word, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return  # the agent is busy; never wait for it
        except OSError:
            word = b""  # the agent is gone
        self._unsent = None
        agent.close()

    def watch(self) -> None:
        """Log, reap and obey until nothing of the tree is left.

        As subreaper the shim is an ancestor of everything the command ever started, so "no child
        left" is the proof.
        """
        self._reap()
        while self._tree_lives:
            for fd, _ in self._poll.poll(self._timeout_ms()):
                self._handle(fd)
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._kill_tree()
                self._deadline = time.monotonic() + KILL_INTERVAL_S

    def _timeout_ms(self) -> float | None:
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - time.monotonic()) * 1000 + 1

    def _handle(self, fd: int) -> None:
        if fd == self._signals:
            arrived = linux.read_signals(fd)
            if linux.SIGTERM in arrived:
                self._stop()
            if linux.SIGCHLD in arrived:
                self._reap()
        elif fd == self._command.output:
            if self._pump is not None and not self._pump.pump():
                self._poll.unregister(fd)
        elif self._command.lease is not None and fd == self._command.lease.fd:
            self._heed(self._command.lease)
        else:
            self._send()
            if self._unsent is None:
                self._poll.unregister(fd)

    def _reap(self) -> None:
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                self._tree_lives = False
                return
            if pid == 0:
                break
            self._cpu_s += used.ru_utime + used.ru_stime
            self._max_rss_bytes = max(self._max_rss_bytes, used.ru_maxrss * 1024)
            if pid == self._command.pid:
                self._status = status
                self._ended_at = time.time()
        if self._status is not None and not self._terminated:
            self._end_within(min(self._grace_s, LEFTOVER_GRACE_S))

    def _stop(self) -> None:
        """Obey a request to stop: how long the tree may take stands in stop.json."""
        asked = records.read_json(self._directory, records.STOP) or {}
        self._stop_asked = self._stop_asked or self._status is None
        self._end_within(float(asked.get("grace_s", self._grace_s)))

    def _heed(self, lease: Lease) -> None:
        """Its timer is due: go on if it was renewed, else end the run; then, kill what is left."""
        lease.acknowledge()
        self._reap()  # what has just ended by itself did not end by its lease
        if self._lease_over:
            self._end_within(0)
        elif lease.is_over():
            self._lease_over = True
            self._expired = self._status is None and not self._stop_asked
            self._end_within(lease.remaining_s(self._grace_s))

    def _end_within(self, grace_s: float) -> None:
        """SIGTERM to the tree, once; SIGKILL after `grace_s`, or sooner if asked before."""
        deadline = time.monotonic() + grace_s
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)
        if not self._terminated:
            self._terminated = True
            self._terminate_tree()

    def _terminate_tree(self) -> None:
        main = self._command.pid
        if self._status is None:
            _signal(-main, linux.SIGTERM)  # its group; not reaped yet, so the id is still its own
        for pid in procfs.descendants(os.getpid()):
            if self._status is not None or _group_of(pid) != main:
                _signal(pid, linux.SIGTERM)

    def _kill_tree(self) -> None:
        # The walk also finds what root moved out of the group, and works where there is no group.
        self._command.group.kill()
        for pid in procfs.descendants(os.getpid()):
            _signal(pid, linux.SIGKILL)

    def close(self) -> None:
        """Empty the pipe and close what is open."""
        if self._pump is not None:
            self._pump.drain()
            self._pump.close()
            os.close(self._command.output)
        if self._command.lease is not None:
            self._command.lease.close()
        os.close(self._signals)

    def conclude(self) -> None:
        """Write the exit record, as soon as the disk takes it, and remove the control groups."""
        self.close()
        self._command.group.clear()
        record = self._exit_record()
        while True:
            try:
                records.write_exit(self._directory, record)
            except FileNotFoundError:
                break  # somebody removed the run directory: nobody will ask
            except OSError:
                time.sleep(RETRY_RECORD_S)
            else:
                break
        self._command.group.remove()

    def _exit_record(self) -> dict[str, Any]:
        code = os.waitstatus_to_exitcode(self._status) if self._status is not None else None
        failure = self._command.failure
        reason, details = failure if failure is not None else (None, None)
        if self._expired:
            reason, details = "lease_expired", "its lease ended without being renewed"
        ran = failure is None
        return {
            "run_id": self._command.record.get("run_id"),
            "exit_code": code if ran and code is not None and code >= 0 else None,
            "signal": -code if ran and code is not None and code < 0 else None,
            "oom_killed": self._command.group.oom_kills() > 0,
            "stopped": self._stop_asked,
            "lost": False,
            "reason": reason,
            "details": details,
            "started_at": self._command.started_at if ran else None,
            "ended_at": self._ended_at or time.time(),
            "cpu_s": round(self._cpu_s, 6),
            "max_rss_bytes": self._max_rss_bytes,
            "log_dropped_bytes": self._pump.dropped_bytes if self._pump is not None else 0,
        }


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1
