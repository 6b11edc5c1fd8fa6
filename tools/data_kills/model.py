"""What each data object may be: what was acknowledged, or what was asked for and not answered."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final, Literal

Files = frozenset[tuple[str, int]]
"""(path, version) of each file of an object that is there."""
State = Files | Literal["absent", "emptied"]
"""No record of it; a record whose data were deleted; or its files."""
ABSENT: Final = "absent"
EMPTIED: Final = "emptied"


@dataclass(slots=True)
class Thing:
    """One data object and its workload; one client alone changes it."""

    key: str
    fetched: bool
    """a program of its own stores it: it can be restarted when its data are gone"""
    source: Files
    """what it begins with"""
    may_be: set[State] = field(default_factory=lambda: {ABSENT})
    workload_id: str | None = None
    under_way: bool = False
    """accepted, and not yet seen to be done"""
    versions: int = 1
    story: list[str] = field(default_factory=list)

    @property
    def state(self) -> State | None:
        """What it is, where that is certain."""
        return next(iter(self.may_be)) if len(self.may_be) == 1 and not self.under_way else None


class Book:
    """All things of one agent, and the counts of what was done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.things: dict[str, Thing] = {}
        self.operations = 0
        self.lost_answers = 0
        self.reads = 0

    def begin(self, thing: Thing, operation: str, after: State) -> None:
        """An operation is about to be sent."""
        with self._lock:
            self.things[thing.key] = thing
            self.operations += 1
            thing.may_be = thing.may_be | {after}
            thing.story.append(f"{operation} asked")

    def acknowledge(self, thing: Thing, operation: str, after: State, *, done: bool) -> None:
        """It was answered: it holds, at once or (not `done`) when a program has ended."""
        with self._lock:
            thing.may_be = {after}
            thing.under_way = not done
            thing.story.append(f"{operation} acknowledged")

    def leave_open(self, thing: Thing, operation: str) -> None:
        """The answer was lost to a kill."""
        with self._lock:
            self.lost_answers += 1
            thing.story.append(f"{operation} not answered")

    def note_read(self) -> None:
        """A reader has seen a whole file."""
        with self._lock:
            self.reads += 1

    def settle(self, thing: Thing, found: State, workload_id: str | None) -> None:
        """A check has found it like this."""
        with self._lock:
            thing.may_be = {found}
            thing.under_way = False
            thing.workload_id = workload_id
            thing.story.append(f"found {'stored' if isinstance(found, frozenset) else found}")
            if found == ABSENT:
                del self.things[thing.key]
