"""Tasks of the manager, all in one task group."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from anyio.abc import TaskGroup


class Tasks:
    """Starts tasks from code that does not await, while the manager runs."""

    def __init__(self) -> None:
        self._group: TaskGroup | None = None

    def open(self, group: TaskGroup) -> None:
        """Start them in this group from now on."""
        self._group = group

    def spawn(
        self, work: Callable[..., Coroutine[Any, Any, Any]], *args: Any, name: str | None = None
    ) -> None:
        """Do something in a task of its own, until the agent ends."""
        if self._group is None:
            raise RuntimeError("the manager is not running")
        self._group.start_soon(work, *args, name=name)
