"""The small process that keeps a command which a user runs inside a run, and ends it in time.

Run as a script by `python -S -E -I -B`, as the spawner is. It lives as long as its command, at most
until the agent closes the other end of its socket (it has died, or whoever asked has left) or the
run has ended: then a hang-up goes to all that the command has started, SIGKILL a second later.
Nothing of it outlives this process: as subreaper it is an ancestor of all of that.

    argv: descriptor of the socket
    in:   the length in four bytes, an order as JSON; nothing more is ever said
    out:  a JSON object a line: {"started": true} or {"failure": sentence}, then {"exit_code": n}
    0–2:  what the command gets; as its terminal where `order["tty"]`
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import termios
import time

if __name__ == "__main__":
    # The names without their packages' code, which would import the agent.
    _HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    for _name, _path in (("cnet", os.path.dirname(_HERE)), ("cnet.supervision", _HERE)):  # noqa: PTH120
        _package = type(sys)(_name)
        _package.__path__ = [_path]
        sys.modules[_name] = _package

from cnet.supervision import child, linux, procfs
from cnet.supervision.cgroups import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

HANG_UP_S = 1.0
KILL_INTERVAL_S = 0.02
SIGNALLED = 128
LENGTH = struct.Struct(">L")


class ExecKeeper:
    """Starts the command of an order and sees it out."""

    def __init__(self, agent: socket.socket) -> None:
        self._agent = agent
        self._signals = linux.signal_fd((linux.SIGCHLD,))
        self._poll = select.poll()
        self._poll.register(self._signals, select.POLLIN)
        self._poll.register(agent.fileno(), select.POLLIN)
        self._run = -1
        self._pid = 0
        self._deadline: float | None = None  # monotonic; from then on SIGKILL
        self._any_left = True

    def keep(self) -> None:
        """Until nothing of the command is left."""
        order = self._order()
        if order is None:
            return
        try:
            self._run = _pidfd_of(order["shim_pid"], order["shim_start"])
            self._poll.register(self._run, select.POLLIN)
            failure = self._start(order)
        except OSError as error:
            failure = f"{order['argv'][0]!r}: {error.strerror}"
        self._say(failure=failure) if failure else self._say(started=True)
        _let_go_of_standard_streams()
        self._reap()
        while self._any_left:
            for fd, _ in self._poll.poll(self._timeout_ms()):
                self._handle(fd)
            if self._deadline is not None and time.monotonic() >= self._deadline:
                _signal_all(linux.SIGKILL)
                self._deadline = time.monotonic() + KILL_INTERVAL_S

    def _order(self) -> dict[str, Any] | None:
        """None when the agent has died before it was complete."""
        data = self._read(LENGTH.size)
        whole = self._read(LENGTH.unpack(data)[0]) if data is not None else None
        return None if whole is None else json.loads(whole)

    def _read(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            part = self._agent.recv(size - len(data))
            if not part:
                return None
            data += part
        return data

    def _start(self, order: dict[str, Any]) -> str:
        """Why it could not be started; empty when it was."""
        failure, failure_end = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _become(order, failure_end)
        os.close(failure_end)
        report = b""
        while part := os.read(failure, 4096):
            report += part
        os.close(failure)
        return report.decode(errors="replace")

    def _timeout_ms(self) -> float | None:
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - time.monotonic()) * 1000 + 1

    def _handle(self, fd: int) -> None:
        if fd == self._signals:
            linux.read_signals(fd)
            self._reap()
        else:  # the agent has closed its end, or the run has ended
            self._poll.unregister(fd)
            self._hang_up()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._any_left = False
                return
            if pid == 0:
                return
            if pid == self._pid:
                code = os.waitstatus_to_exitcode(status)
                self._say(exit_code=code if code >= 0 else SIGNALLED - code)
                self._hang_up()  # what it leaves behind

    def _hang_up(self) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + HANG_UP_S
            _signal_all(signal.SIGHUP)

    def _say(self, **words: Any) -> None:
        try:
            self._agent.sendall(json.dumps(words).encode() + b"\n", socket.MSG_NOSIGNAL)
        except OSError:
            return  # the agent is gone


def _become(order: dict[str, Any], failure: int) -> NoReturn:
    try:
        os.setsid()
        if order["tty"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for directory in order["cgroups"]:
            write(f"{directory}/cgroup.procs", str(os.getpid()))
        child.settle(order, parent_pid=os.getppid(), data_limit_bytes=order["data_limit_bytes"])
        child.execute(order["argv"], order["env"])
    except BaseException as error:  # noqa: BLE001  nothing may escape into the keeper's code
        os.write(failure, child.describe(error, order).encode(errors="replace")[:2000])
    finally:
        os._exit(child.EXIT_NOT_STARTED)


def _pidfd_of(pid: int, start: int) -> int:
    """Raises ProcessLookupError when that very process does not live."""
    pidfd = os.pidfd_open(pid)
    if not procfs.is_same_process(pid, start):
        raise ProcessLookupError(3, "the run has ended")
    return pidfd


def _let_go_of_standard_streams() -> None:
    """Who reads them is to see their end when the command's processes have closed them."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)


def _signal_all(number: int) -> None:
    for pid in procfs.descendants(os.getpid()):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def main(descriptor: str) -> None:
    """Keep one command; returns when nothing of it is left."""
    signal.pthread_sigmask(
        signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
    )
    os.set_inheritable(int(descriptor), False)
    linux.set_process_name("cnet-exec")
    linux.set_child_subreaper()
    ExecKeeper(socket.socket(fileno=int(descriptor))).keep()


if __name__ == "__main__":
    main(sys.argv[1])
