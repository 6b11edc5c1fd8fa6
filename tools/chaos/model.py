"""What must be the case: per workload the wishes that may hold, and everything that was done to it.

An operation whose answer was lost to a kill may or may not have happened: it adds a possible wish
instead of replacing the others. Locked, because client threads and the checker share it.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tools.chaos.sorts import Sort
from tools.chaos.system import Process

ABSENT, RUNNING, STOPPED, DELETED = "absent", "running", "stopped", "deleted"


class InvariantError(Exception):
    """An invariant does not hold: a stable word for it, and the id of a workload if it has one."""

    def __init__(self, invariant: str, sentence: str, workload: str | None = None) -> None:
        super().__init__(f"{invariant}: {sentence}")
        self.invariant = invariant
        self.workload = workload


def new_id(rng: random.Random, mark: str) -> str:
    """Of a workload: another one in every run of the tool, also if two have the same seed.

    What runs is recognised by it; those who run at the same time must not take it for theirs.
    """
    own = uuid.uuid5(uuid.NAMESPACE_OID, mark).int
    return str(uuid.UUID(int=rng.getrandbits(128) ^ own, version=4))


@dataclass(slots=True)
class Seen:
    """A workload as the last check found it."""

    status: str
    attempt: int
    process: Process | str | None
    """or the id of its container"""
    exit_code: int | None
    touched: int


@dataclass(slots=True)
class Subject:
    """One submitted workload."""

    id: str
    sort: Sort
    body: dict[str, Any]
    wishes: set[str] = field(default_factory=lambda: {ABSENT})
    acknowledged: bool = False
    touched: int = 0
    """operations and kills that may change it; equal numbers mean nothing happened in between"""
    operated: bool = False
    """whether anything but the submit was asked"""
    disturbed: bool = False
    """whether a shim of it was ever killed"""
    gone: bool = False
    seen: Seen | None = None
    story: list[str] = field(default_factory=list)

    @property
    def cpu_millicores(self) -> int:
        return round(float(self.body["requirements"].get("cpu", 0)) * 1000)

    def required(self) -> dict[str, int]:
        """Its requirements in exact units: millicores and bytes."""
        wanted = self.body["requirements"]
        return {
            "cpu": self.cpu_millicores,
            "memory": wanted.get("memory", 0),
            "storage": wanted.get("storage", 0),
        }


class Model:
    """All subjects of a run."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._subjects: dict[str, Subject] = {}
        self._born = time.monotonic()
        self.operations = 0

    def add(self, subject: Subject) -> None:
        with self._lock:
            self._subjects[subject.id] = subject

    def find(self, workload_id: str) -> Subject | None:
        with self._lock:
            return self._subjects.get(workload_id)

    def all(self) -> Iterator[Subject]:
        with self._lock:
            return iter(list(self._subjects.values()))

    def tell(self, subject: Subject, sentence: str) -> None:
        """Add to the story of a subject."""
        with self._lock:
            subject.story.append(f"{time.monotonic() - self._born:8.3f} s  {sentence}")

    def begin(self, subject: Subject, operation: str) -> None:
        """An operation is about to be sent."""
        with self._lock:
            self.operations += 1
            subject.touched += 1
            subject.operated = subject.operated or operation != "submit"
            self.tell(subject, f"{operation} asked")

    def acknowledge(self, subject: Subject, operation: str, wish: str) -> None:
        """It was answered: the wish holds now.

        But a stop does not undo a delete that was asked before and not answered, nor does a submit
        that is repeated undo such a stop.
        """
        with self._lock:
            open_before = {"submit": {STOPPED}, "stop": {DELETED}}.get(operation, set())
            kept = subject.wishes & open_before
            subject.wishes = {wish} | kept
            subject.acknowledged = True
            if operation in ("submit", "restart"):
                subject.touched += 1
            self.tell(subject, f"{operation} acknowledged")

    def refuse(self, subject: Subject, operation: str, why: str) -> None:
        """It was answered with an error: nothing has changed."""
        with self._lock:
            self.tell(subject, f"{operation} refused: {why}")

    def leave_open(self, subject: Subject, operation: str, wish: str) -> None:
        """The answer was lost: the wish may hold."""
        with self._lock:
            subject.wishes = subject.wishes | {wish}
            subject.touched += 1
            self.tell(subject, f"{operation} not answered")

    def tell_by_id(self, workload_id: str, sentence: str) -> None:
        """Add to the story of a subject, if it is one."""
        subject = self.find(workload_id)
        if subject is not None:
            self.tell(subject, sentence)

    def disturb(self, workload_id: str, what: str) -> None:
        """Something of it is about to be killed."""
        with self._lock:
            subject = self._subjects.get(workload_id)
            if subject is not None:
                subject.touched += 1
                subject.disturbed = True
                self.tell(subject, what)
