"""One run directory, read and judged by the agent: made, launched, alive, ended or lost?

Only files and /proc are looked at, no event loop. The judgement holds for runs whose spawner has
given up its lock; a launch that is still under way belongs to the Supervisor.
"""

from __future__ import annotations

import enum
import errno
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cnet.errors import ConflictError, ExecutionError, StorageFullError
from cnet.supervision import lease, procfs, records
from cnet.supervision.values import RunExit, RunSpec

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Standing(enum.Enum):
    """What a run directory proves."""

    UNUSED = enum.auto()  # nothing was run, nothing will be
    LIVE = enum.auto()  # its shim lives
    ENDED = enum.auto()  # there is an exit record
    LOST = enum.auto()  # it was run, and nobody wrote down its end


class RunDirectory:
    """`<root>/<workload>/<attempt>`; `key` is the last two."""

    def __init__(self, root: Path, workload_id: str, attempt: int) -> None:
        self.key = f"{workload_id}/{attempt}"
        self.path = root / workload_id / str(attempt)

    def create(self, spec: RunSpec, *, user: Mapping[str, Any] | None, boot_id: str) -> None:
        """Make the directory with the spec in it.

        Raises ConflictError when it exists, StorageFullError on a full disk, ExecutionError when it
        cannot be made for another reason.
        """
        env = {
            **spec.env,
            "CNET_RUN_ID": spec.run_id,
            "CNET_WORKLOAD_ID": spec.workload_id,
        }
        record = {
            "run_id": spec.run_id,
            "boot_id": boot_id,
            "argv": spec.argv,
            "env": env,
            "cwd": spec.cwd,
            "grace_s": spec.grace_s,
            "limits": asdict(spec.limits),
            "run_as": user,
            "leased": spec.lease_until is not None,
            "log": {
                "path": str(self.path.parent / records.OUTPUT_LOG),
                "max_bytes": spec.log_max_bytes,
                "files": spec.log_files,
            },
        }
        try:
            with_parents = self.path.parent
            if not with_parents.is_dir():
                with_parents.mkdir(mode=0o700, exist_ok=True)
            self.path.mkdir(mode=0o700)
            if spec.lease_until is not None:
                lease.create(str(self.path), spec.lease_until)
            records.write_json(str(self.path), records.SPEC, record)
        except FileExistsError:
            raise ConflictError(
                f"attempt {spec.attempt} of workload {spec.workload_id} was launched before"
            ) from None
        except OSError as error:
            self.wipe()
            if error.errno in _NO_ROOM:
                raise StorageFullError(f"no room for {self.path}: {error.strerror}") from error
            raise ExecutionError(
                f"cannot make the run directory {self.path}: {error.strerror}", code="start_failed"
            ) from error

    def wipe(self) -> None:
        """Remove the directory; no process may belong to it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def judge(self, boot_id: str) -> Standing:
        """What the files and /proc prove about it now."""
        if (self.path / records.EXIT).exists():
            return Standing.ENDED
        spec = self.spec()
        if spec is not None and spec["boot_id"] != boot_id:
            # Whether it ran is not known: what the shim writes before the end is not synced.
            return Standing.LOST
        record = self.record()
        if record is None:
            return Standing.UNUSED
        if record["boot_id"] == boot_id and self._shim_lives(record):
            return Standing.LIVE
        # The shim may have written the record and ended since the first look.
        return Standing.ENDED if (self.path / records.EXIT).exists() else Standing.LOST

    def _shim_lives(self, record: Mapping[str, Any]) -> bool:
        return records.is_locked(str(self.path)) and procfs.is_same_process(
            record["shim_pid"], record["shim_start"]
        )

    def spec(self) -> dict[str, Any] | None:
        """The record of `create`."""
        return records.read_json(str(self.path), records.SPEC)

    def record(self) -> dict[str, Any] | None:
        """What the shim wrote before it gave the word to go."""
        return records.read_json(str(self.path), records.SHIM)

    def open_pidfd(self) -> int | None:
        """A pidfd of the living shim, or None when it has ended meanwhile."""
        record = self.record()
        if record is None:
            return None
        try:
            pidfd = os.pidfd_open(record["shim_pid"])
        except ProcessLookupError:
            return None
        # Checked after opening: from here on the descriptor cannot come to mean another process.
        if not procfs.is_same_process(record["shim_pid"], record["shim_start"]):
            os.close(pidfd)
            return None
        return pidfd

    def exit(self) -> RunExit | None:
        """The exit record, if there is one."""
        record = records.read_json(str(self.path), records.EXIT)
        return None if record is None else RunExit.from_record(record)

    def write_lost(self, reason: str, details: str, *, ended_at: float) -> RunExit:
        """Write and return the exit of a run whose end nobody saw."""
        record = self.record() or {}
        lost = RunExit(
            exit_code=None,
            signal=None,
            oom_killed=False,
            stopped=False,
            lost=True,
            reason=reason,
            details=details,
            started_at=record.get("started_at"),
            ended_at=ended_at,
        )
        records.write_exit(str(self.path), asdict(lost))
        return lost
