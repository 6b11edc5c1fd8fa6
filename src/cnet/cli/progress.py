"""Bars for bytes on their way; on a terminal only, and on stderr."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress

_HOW_FAR = re.compile(r"(?P<what>.+): (?P<came>[\d.]+) of (?P<size>[\d.]+) MiB.*")
MIB = 1024**2


class _Bar:
    """Use in a `with` block; `quiet` shows nothing at all."""

    def __init__(
        self, *more: ProgressColumn, quiet: bool, console: Console | None, what: str | None
    ) -> None:
        console = console or Console(stderr=True)
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            *more,
            console=console,
            disable=quiet or not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(what or "", total=None, visible=what is not None)

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


class FetchProgress(_Bar):
    """How far the image, or the data, of a workload that is starting are."""

    def __init__(self, *, quiet: bool, console: Console | None = None) -> None:
        super().__init__(quiet=quiet, console=console, what=None)

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


class Progress(_Bar):
    """How far bytes are that this command moves itself."""

    def __init__(self, what: str, *, quiet: bool) -> None:
        super().__init__(
            TransferSpeedColumn(), TimeRemainingColumn(), quiet=quiet, console=None, what=what
        )

    def expect(self, size: int) -> None:
        """How many bytes there will be."""
        self._bar.update(self._task, total=size)

    def advance(self, size: int) -> None:
        """So many more have passed."""
        self._bar.advance(self._task, size)
