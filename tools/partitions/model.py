"""What must be the case: per workload the wishes that may hold, and what was done to it.

An operation that was not answered may or may not have happened: it adds a possible wish. Locked,
because client threads and the checker share it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from tools.chaos.model import ABSENT, DELETED, RUNNING, STOPPED, InvariantError

__all__ = ["ABSENT", "DELETED", "RUNNING", "STOPPED", "InvariantError", "Model", "Subject"]


@dataclass(slots=True)
class Subject:
    """One submitted workload."""

    id: str
    owner: str
    body: dict[str, Any]
    lasting: bool
    """it runs until somebody ends it; otherwise it ends well by itself"""
    wishes: set[str] = field(default_factory=lambda: {ABSENT})
    acknowledged: bool = False
    starts: int = 1
    """how often a user may have asked for a run of it"""
    story: list[str] = field(default_factory=list)

    @property
    def reschedules(self) -> bool:
        return bool(self.body.get("on_node_loss") == "reschedule")

    @property
    def node(self) -> str | None:
        """The only node on which it may run, if there is one."""
        node = self.body.get("node")
        return None if node is None else str(node)


class Model:
    """All subjects of a run."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._subjects: dict[str, Subject] = {}
        self._born = time.monotonic()
        self.operations = 0
        self.unanswered = 0

    def add(self, subject: Subject) -> None:
        with self._lock:
            self._subjects[subject.id] = subject

    def forget(self, workload_id: str) -> None:
        """It was deleted, and checked to be gone."""
        with self._lock:
            self._subjects.pop(workload_id, None)

    def find(self, workload_id: str) -> Subject | None:
        with self._lock:
            return self._subjects.get(workload_id)

    def all(self) -> list[Subject]:
        with self._lock:
            return list(self._subjects.values())

    def tell(self, subject: Subject, sentence: str) -> None:
        """Add to the story of a subject."""
        with self._lock:
            subject.story.append(f"{time.monotonic() - self._born:8.3f} s  {sentence}")

    def tell_all(self, sentence: str) -> None:
        """Add to the story of every subject."""
        for subject in self.all():
            self.tell(subject, sentence)

    def begin(self, subject: Subject, operation: str) -> None:
        """An operation is about to be sent."""
        with self._lock:
            self.operations += 1
            subject.starts += operation == "restart"
            self.tell(subject, f"{operation} asked of {subject.owner}")

    def acknowledge(self, subject: Subject, operation: str, wish: str) -> None:
        """It was answered: the wish holds now.

        But a stop does not undo a delete that was asked before and not answered.
        """
        with self._lock:
            kept = subject.wishes & {DELETED} if wish == STOPPED else set[str]()
            subject.wishes = {wish} | kept
            subject.acknowledged = True
            self.tell(subject, f"{operation} acknowledged")

    def refuse(self, subject: Subject, operation: str, why: str) -> None:
        """It was answered with an error: nothing has changed."""
        with self._lock:
            self.tell(subject, f"{operation} refused: {why}")

    def leave_open(self, subject: Subject, operation: str, wish: str, why: str) -> None:
        """The answer was lost: the wish may hold."""
        with self._lock:
            self.unanswered += 1
            subject.wishes = subject.wishes | {wish}
            self.tell(subject, f"{operation} not answered: {why}")
