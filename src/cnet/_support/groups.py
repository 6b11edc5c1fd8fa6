"""What waits in a queue, taken together."""

from __future__ import annotations

from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def next_group(waiting: SimpleQueue[T | None], most: int) -> tuple[list[T], bool]:
    """What waits now, at most so many; blocks until there is something.

    The second value is True when None came, which ends the queue; the group may be empty then.
    """
    group: list[T] = []
    item = waiting.get()
    while item is not None:
        group.append(item)
        if len(group) >= most or waiting.empty():
            return group, False
        item = waiting.get()
    return group, True
