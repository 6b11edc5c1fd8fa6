"""Bars for bytes on their way; on a terminal only, and on stderr."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress

_HOW_FAR = re.compile(r"(?P<what>.+): (?P<came>[\d.]+) of (?P<size>[\d.]+) MiB.*")
MIB = 1024**2


class FetchProgress:
    """How far the image, or the data, of a workload that is starting are; use in a `with` block."""

    def __init__(self, *, quiet: bool, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, visible=False)

    def show(self, workload: dict[str, Any]) -> None:
        """Where it stands now."""
        fetching = workload.get("status_reason") == "fetching"
        found = _HOW_FAR.fullmatch(str(workload.get("status_detail"))) if fetching else None
        if found is None:
            self._bar.update(self._task, visible=False)
            return
        came, size = (int(float(found[name]) * MIB) for name in ("came", "size"))
        self._bar.update(
            self._task, description=found["what"], completed=came, total=size or None, visible=True
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()


class Progress:
    """Use in a `with` block; `quiet` shows nothing at all."""

    def __init__(self, what: str, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(what, total=None)

    def expect(self, size: int) -> None:
        """How many bytes there will be."""
        self._bar.update(self._task, total=size)

    def advance(self, size: int) -> None:
        """So many more have passed."""
        self._bar.advance(self._task, size)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()
