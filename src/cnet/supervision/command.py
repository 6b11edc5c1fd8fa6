"""The start of one run's command: groups, pipes, fork, record, the word to go, the exec.

The order is the point (see `Command.start`): killed at any moment, the shim leaves either a run
that can be recognised or a child that ends by itself without having run anything. Standard
library only.
"""

from __future__ import annotations

import errno
import os
import time

from cnet.supervision import cgroup_group, child, linux, procfs, records
from cnet.supervision import lease as leases

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cnet.supervision.cgroups import Cgroups


class Command:
    """The command of a run: `pid`, the read end `output`, its control `group`, its `record`.

    `lease` is None where it has none. `failure` is None once it runs, else a stable word and a
    sentence.
    """

    __slots__ = ("failure", "group", "lease", "output", "pid", "record", "started_at")

    def __init__(self) -> None:
        self.pid = 0
        self.output = -1
        self.group = cgroup_group.RunGroup()
        self.lease: leases.Lease | None = None
        self.record: dict[str, Any] = {}
        self.started_at = time.time()
        self.failure: tuple[str, str] | None = None

    def start(
        self,
        spec: dict[str, Any],
        *,
        directory: str,
        cgroups: Cgroups,
        spawner_lock: int,
        boot_id: str,
    ) -> None:
        """Fork, write the record, give the word, wait for the exec.

        The record stands before the word, and the spawner's lock is held until then: whoever gets
        that lock knows that a run without a record has not run anything. What goes wrong ends up in
        `failure`; the child, if there is one by then, is the caller's to reap.
        """
        try:
            if spec["leased"]:
                self.lease = leases.Lease(directory)
            self.group = cgroup_group.make(cgroups, spec["run_id"], spec["limits"])
            go, failure = self._fork(spec, spawner_lock)
            self.group.enter(self.pid)
            self._write_record(spec, directory, boot_id)
            os.close(spawner_lock)
            os.write(go, b"g")
            os.close(go)
            report = _read_to_end(failure)
        except OSError as error:
            self.failure = ("start_failed", f"cannot start {spec['argv'][0]!r}: {error}")
            return
        if report:
            over = report == leases.OVER_BEFORE_START
            self.failure = (
                "lease_expired" if over else "exec_failed",
                report.decode(errors="replace"),
            )

    def _fork(self, spec: dict[str, Any], spawner_lock: int) -> tuple[int, int]:
        """Start the waiting child; where to write the word, and where to read its failure."""
        self.output, output = os.pipe()
        go_end, go = os.pipe()
        failure, failure_end = os.pipe()
        shim_pid = os.getpid()
        self.pid = _fork_into(self.group)
        if self.pid == 0:
            os.close(spawner_lock)
            os.close(go)
            in_rlimit = self.group.enforced.get("memory") == "rlimit_data"
            child.become(
                spec,
                shim_pid=shim_pid,
                go=go_end,
                failure=failure_end,
                output=output,
                data_limit_bytes=spec["limits"]["memory_bytes"] if in_rlimit else None,
                lease=self.lease,
            )
        for fd in (output, go_end, failure_end):
            os.close(fd)
        return go, failure

    def _write_record(self, spec: dict[str, Any], directory: str, boot_id: str) -> None:
        shim_pid = os.getpid()
        self.record = {
            "run_id": spec["run_id"],
            "boot_id": boot_id,
            "shim_pid": shim_pid,
            "shim_start": procfs.start_time(shim_pid),
            "pid": self.pid,
            "start": procfs.start_time(self.pid),
            "started_at": self.started_at,
            "limits": self.group.enforced,
            "cgroups": self.group.directories,
        }
        records.write_json(directory, records.SHIM, self.record)


def _fork_into(group: cgroup_group.RunGroup) -> int:
    if group.birth is None:
        return os.fork()
    place = os.open(group.birth, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        pid, pidfd = linux.fork(place)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise  # no more processes: a plain fork would fail as well
    else:
        if pid:
            os.close(pidfd)
        return pid
    finally:
        os.close(place)
    # No clone3 here (old kernel, seccomp). Moving takes some 10 ms: only where a limit needs it.
    if group.attach or "cgroup_v2" in group.enforced.values():
        group.attach.append(group.birth)
    return os.fork()


def _read_to_end(fd: int) -> bytes:
    data = b""
    while part := os.read(fd, 4096):
        data += part
    os.close(fd)
    return data
