"""What an agent puts down of its containers, to know them again: a folder for each run.

<root>/<workload id>/output.log          what the runs have said, and its older pieces
<root>/<workload id>/<attempt>/engine    by which process of the engine it was to be started
                               started   the container of the run
                               stop      somebody has asked for its end
                               position  up to where its log has been copied
                               execs/    commands that run beside it, by the engine's ids
                               exit      how it ended; the container may go then
"""

from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from dataclasses import asdict
from glob import glob
from pathlib import Path
from typing import Any

import orjson

from cnet._support.files import write_atomic
from cnet.errors import ExecutionError, StorageFullError
from cnet.supervision import RunExit

OUTPUT_LOG = "output.log"
EXECS = "execs"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class RunRecords:
    """The folder of one run. Blocking."""

    def __init__(self, root: Path, workload_id: str, attempt: int) -> None:
        self.workload = root / workload_id
        self.path = self.workload / str(attempt)

    @property
    def log(self) -> Path:
        """The newest piece of the workload's log."""
        return self.workload / OUTPUT_LOG

    @property
    def position(self) -> Path:
        """See `logs`."""
        return self.path / "position"

    def create(self) -> None:
        """Make the folder. Raises StorageFullError, ExecutionError (`start_failed`)."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in FULL:
                raise StorageFullError(f"no room for {self.path}: {error.strerror}") from error
            raise ExecutionError(f"{self.path}: {error.strerror}", code="start_failed") from error

    @property
    def is_outdated(self) -> bool:
        """Whether a later run of the workload has been begun."""
        return any(attempt > int(self.path.name) for attempt in self._attempts())

    def remove_former(self) -> None:
        """The folders of earlier runs: each has ended, and its output is in the log."""
        for attempt in self._attempts():
            if attempt < int(self.path.name):
                shutil.rmtree(self.workload / str(attempt))

    def _attempts(self) -> list[int]:
        try:
            return [int(each.name) for each in self.workload.iterdir() if each.name.isdecimal()]
        except FileNotFoundError:
            return []

    def note_engine(self, incarnation: str | None) -> None:
        """Which engine is about to start it. On a full disk that must do without."""
        with suppress(OSError):
            write_atomic(self.path / "engine", orjson.dumps(incarnation), durable=False)

    def engine(self) -> str | None:
        """What `note_engine` has put down."""
        found: str | None = self._read("engine")
        return found

    def note_start(self, container_id: str, boot_id: str) -> None:
        """The container runs. On a full disk that must do without."""
        with suppress(OSError):
            content = {"container_id": container_id, "boot_id": boot_id}
            write_atomic(self.path / "started", orjson.dumps(content), durable=False)

    def started(self) -> dict[str, Any] | None:
        """What `note_start` has put down."""
        found: dict[str, Any] | None = self._read("started")
        return found

    def note_stop(self) -> None:
        """Somebody wants it ended. On a full disk stopping comes first."""
        with suppress(OSError):
            write_atomic(self.path / "stop", b"{}", durable=False)

    @property
    def stop_asked(self) -> bool:
        """Whether its end was asked for."""
        return (self.path / "stop").exists()

    def note_exec(self, exec_id: str) -> None:
        """A command is about to run beside it. Raises StorageFullError, ExecutionError."""
        try:
            folder = self.path / EXECS
            folder.mkdir(mode=0o700, exist_ok=True)
            (folder / exec_id).touch(mode=0o600)
        except OSError as error:
            if error.errno in FULL:
                raise StorageFullError(f"no room for {self.path}: {error.strerror}") from error
            raise ExecutionError(f"{self.path}: {error.strerror}", code="exec_failed") from error

    def forget_exec(self, exec_id: str) -> None:
        """It is over."""
        with suppress(OSError):  # the next agent finds out that it is
            (self.path / EXECS / exec_id).unlink(missing_ok=True)

    def note_exit(self, ended: RunExit) -> None:
        """How it ended; durable on return. Raises OSError."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(self.path / "exit", orjson.dumps(asdict(ended)))

    def exit(self) -> RunExit | None:
        """What `note_exit` has put down."""
        record = self._read("exit")
        return None if record is None else RunExit.from_record(record)

    def _read(self, name: str) -> Any:
        try:
            return orjson.loads((self.path / name).read_bytes())
        except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError):
            return None


def noted_execs(root: Path) -> list[Path]:
    """Of all runs, those that nobody has seen the end of; the names are the engine's ids."""
    # `root.glob` breaks off where a workload is removed while it looks.
    return [root / each for each in glob(f"*/*/{EXECS}/*", root_dir=root)]  # noqa: PTH207


def remove(root: Path, workload_id: str) -> None:
    """Delete all there is of a workload; harmless when that is nothing. Raises OSError."""
    with suppress(FileNotFoundError):
        shutil.rmtree(root / workload_id)
