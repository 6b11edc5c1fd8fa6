"""A run as the agent holds it: known by its pidfd, asked to stop by signal, ended by its record."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import anyio

from cnet.errors import TransientError
from cnet.supervision import lease, procfs, records
from cnet.supervision.run_directory import RunDirectory
from cnet.supervision.values import RunExit, Usage


class Run:
    """A live or just ended run. Made by the Supervisor; belongs to its event loop."""

    def __init__(self, directory: RunDirectory, record: Mapping[str, Any], *, pidfd: int) -> None:
        self.run_id: str = record["run_id"]
        self.pid: int = record["pid"]
        self.shim_pid: int = record["shim_pid"]
        self.started_at: float = record["started_at"]
        self.limits: Mapping[str, str] = record["limits"]
        self.directory = directory
        self.record = record
        self.pidfd = pidfd  # of the shim; -1 once it has ended
        self._lease_until = lease.read(str(directory.path))
        self._exit: RunExit | None = None
        self._settled = anyio.Event()

    async def wait(self) -> RunExit:
        """Block until the run has ended; cancelling leaves it running.

        May be awaited by several tasks and again after the end. Raises TransientError when the
        supervisor stops watching first (the agent is shutting down; the run goes on).
        """
        await self._settled.wait()
        if self._exit is None:
            raise TransientError(f"run {self.run_id} is no longer watched by this agent")
        return self._exit

    @property
    def exit(self) -> RunExit | None:
        """How it ended, or None while it runs."""
        return self._exit

    async def stop(self, *, grace_s: float | None = None) -> None:
        """Ask the run to end: SIGTERM to its whole tree, SIGKILL after `grace_s` seconds.

        None takes the grace of its spec. Returns at once; `wait` tells the end, which comes even if
        the agent dies now. Harmless on a run that has ended; again with less grace shortens it.
        """
        if self.pidfd < 0:
            return
        if grace_s is not None:
            # On a full disk the grace of the spec must do: stopping comes first.
            with suppress(OSError):
                record = {"grace_s": max(0.0, grace_s)}
                records.write_json(str(self.directory.path), records.STOP, record)
        with suppress(ProcessLookupError):  # it has just ended by itself
            signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)

    @property
    def lease_until(self) -> float | None:
        """When its lease ends, in seconds of CLOCK_BOOTTIME (`lease_now`); None without one."""
        return self._lease_until

    def renew(self, until: float) -> None:
        """Let a run with a lease go on until `until`, in seconds of CLOCK_BOOTTIME.

        An earlier end than it has changes nothing, and neither does a call when the lease is over,
        the run has ended or it has no lease. Costs one small write. Raises TransientError when that
        fails: the lease is as it was.
        """
        held = self._lease_until
        if held is None or self.pidfd < 0 or not until > held or held <= lease.now():
            return
        try:
            lease.extend(str(self.directory.path), until)
        except OSError as error:
            raise TransientError(
                f"the lease of run {self.run_id} cannot be renewed: {error.strerror}"
            ) from error
        self._lease_until = until

    def usage(self) -> Usage:
        """What its tree uses now. Reads /proc some dozen times; may run in a thread."""
        if self.pidfd < 0:
            return Usage(cpu_s=0.0, rss_bytes=0, processes=0)
        cpu_s, rss_bytes, living = procfs.usage(procfs.descendants(self.shim_pid))
        return Usage(
            cpu_s=cpu_s + procfs.reaped_cpu_s(self.shim_pid),
            rss_bytes=rss_bytes,
            processes=living,
        )

    def settle(self, ended: RunExit | None) -> None:
        """Called once by the Supervisor: how the run ended, or None when it stops watching."""
        self._exit = ended
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        self._settled.set()
