"""What the witnesses have written down, read without asking any agent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.chaos.system import Process
from tools.partitions import witness


@dataclass(frozen=True, slots=True)
class Run:
    """One process of a workload. Times in seconds of CLOCK_BOOTTIME."""

    workload_id: str
    run_id: str
    place: int
    """inode of its network namespace"""
    process: Process
    began: float
    last: float
    met: bool
    """another run of the workload was alive when this one began"""

    def lives(self) -> bool:
        """Whether it still runs."""
        return self.process.lives()


class Evidence:
    """The folder in which witnesses write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def config(self, *, lasts_s: float | None = None, exit_code: int = 0) -> dict[str, Any]:
        """The `config` of a process workload that writes here."""
        args = ["-I", "-S", witness.__file__, str(self._folder)]
        args += [] if lasts_s is None else [str(lasts_s), str(exit_code)]
        return {"command": sys.executable, "args": args}

    def runs(self, workload_id: str) -> list[Run]:
        """All runs of a workload so far, the earliest first."""
        found = [_read(workload_id, path) for path in self._files(workload_id)]
        return sorted((run for run in found if run is not None), key=lambda run: run.began)

    def workloads(self) -> list[str]:
        """Ids of all workloads that have ever run."""
        return [path.name for path in self._folder.iterdir()]

    def overlap_s(self, workload_id: str) -> float | None:
        """Seconds during which two runs of a workload were alive at once; None when never.

        0.0 means: for less than the witnesses' period, but they met.
        """
        runs = self.runs(workload_id)
        total, met, until = 0.0, any(run.met for run in runs), 0.0
        for run in runs:
            total += max(0.0, min(until, run.last) - run.began)
            until = max(until, run.last)
        return total if met or total > 0 else None

    def _files(self, workload_id: str) -> Iterator[Path]:
        folder = self._folder / workload_id
        if folder.is_dir():
            yield from (path for path in folder.iterdir() if "@" in path.name)


def _read(workload_id: str, path: Path) -> Run | None:
    numbers = path.read_text().split()
    if len(numbers) != 3:
        return None  # made, and not yet written
    run_id, _, where = path.name.partition("@")
    place, pid, start = map(int, where.split("."))
    began, last, met = map(int, numbers)
    return Run(workload_id, run_id, place, Process(pid, start), began / 1e9, last / 1e9, bool(met))
