"""What the clients of every campaign are: threads that pass a gate and ask one thing at a time."""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from tools.chaos.agent import UnansweredError
from tools.chaos.model import ABSENT, DELETED, RUNNING, STOPPED, InvariantError


class Gate:
    """Lets operations through, or holds them back; counts those under way and announces each.

    `era` is another one after each closing, which follows on the heels of each kill of the agent.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._open = False
        self._ended = False
        self._inside = 0
        self._passed = 0
        self.era = 0

    @contextmanager
    def operation(self) -> Iterator[int | None]:
        """Inside the `with`, one operation is under way: its era, None once all is to end."""
        with self._condition:
            self._condition.wait_for(lambda: self._open or self._ended)
            self._inside += 1
            self._passed += 1
            self._condition.notify_all()
            era = None if self._ended else self.era
        try:
            yield era
        finally:
            with self._condition:
                self._inside -= 1
                self._condition.notify_all()

    def open(self) -> None:
        with self._condition:
            self._open = True
            self._condition.notify_all()

    def close(self) -> None:
        """Hold further operations back."""
        with self._condition:
            self._open = False
            self.era += 1
            self._condition.notify_all()

    def await_closing(self, era: int, timeout_s: float) -> bool:
        """Whether the gate is closed, or was since `era`, within `timeout_s`."""
        with self._condition:
            return self._condition.wait_for(lambda: self.era != era or self._ended, timeout_s)

    def drain(self, timeout_s: float) -> None:
        """Wait until none is under way. Raises InvariantError `stuck`."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._inside == 0, timeout_s):
                raise InvariantError("stuck", f"an operation is unanswered after {timeout_s:g} s")

    def end(self) -> None:
        """Let every thread run out."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def await_operation(self, timeout_s: float) -> None:
        """Return as an operation begins, or after `timeout_s`."""
        with self._condition:
            passed = self._passed
            self._condition.wait_for(lambda: self._passed != passed, timeout_s)

    def await_moment(self, rng: random.Random) -> None:
        """A random one; half of them lie within some milliseconds of an operation's begin."""
        time.sleep(rng.uniform(0.05, 0.3))
        if rng.random() < 0.6:
            self.await_operation(1.0)
            time.sleep(rng.uniform(0, 0.02))


class Subject(Protocol):
    """A submitted workload, as far as asking for it goes."""

    id: str
    wishes: set[str]
    acknowledged: bool


S = TypeVar("S", bound=Subject)
S_contra = TypeVar("S_contra", bound=Subject, contravariant=True)


class Book(Protocol[S_contra]):
    """The model, as far as asking goes."""

    def begin(self, subject: S_contra, operation: str) -> None:
        """An operation is about to be sent."""

    def refuse(self, subject: S_contra, operation: str, why: str) -> None:
        """It was answered with an error: nothing has changed."""


class Answer(NamedTuple):
    """What came back: the HTTP status, the error code, and the workload's id."""

    status: int
    code: str
    id: str


class ClientThread(threading.Thread, ABC, Generic[S]):
    """One client. `failure` is what ended it early."""

    pause_s: tuple[float, float]
    """between two operations, at least and at most"""

    def __init__(self, book: Book[S], gate: Gate, rng: random.Random) -> None:
        super().__init__(daemon=True)
        self._book = book
        self._gate = gate
        self._rng = rng
        self._mine: list[S] = []
        self._era = 0
        self._ending = threading.Event()
        self.failure: InvariantError | None = None

    def run(self) -> None:
        try:
            while True:
                with self._gate.operation() as era:
                    if era is None:
                        return
                    self._era = era
                    self._step()
                if self._ending.wait(self._rng.uniform(*self.pause_s)):
                    return
        except InvariantError as violation:
            self.failure = violation

    def end(self) -> None:
        """Do not begin another operation."""
        self._ending.set()

    def stop(self, subject: S) -> None:
        """Stop it; a workload that has ended by itself refuses."""
        path = f"/api/workloads/{subject.id}/stop{self._query(subject, 'stop')}"
        self._act(subject, "stop", "POST", path, STOPPED)

    def restart(self, subject: S) -> None:
        """Start it again."""
        path = f"/api/workloads/{subject.id}/restart{self._query(subject, 'restart')}"
        self._act(subject, "restart", "POST", path, RUNNING)

    def delete(self, subject: S) -> None:
        """Delete it."""
        path = f"/api/workloads/{subject.id}{self._query(subject, 'delete')}"
        self._act(subject, "delete", "DELETE", path, DELETED)

    @abstractmethod
    def _step(self) -> None:
        """One operation."""

    @abstractmethod
    def _query(self, subject: S, operation: str) -> str:
        """What stands behind the path: whether to wait."""

    def _title(self, operation: str, path: str) -> str:
        """What the story of a subject calls the operation."""
        return operation

    @abstractmethod
    def _act(self, subject: S, operation: str, method: str, path: str, wish: str) -> None:
        """Ask, and enter what the answer means. Raises InvariantError."""

    @abstractmethod
    def _send(self, subject: S, method: str, path: str, body: object) -> tuple[int, dict[str, Any]]:
        """Status and JSON. Raises UnansweredError."""

    @abstractmethod
    def _leave_open(self, subject: S, title: str, wish: str, error: UnansweredError) -> None:
        """Enter that the answer was lost. Raises InvariantError where none may be."""

    def _ask(
        self,
        subject: S,
        operation: str,
        method: str,
        path: str,
        wish: str,
        body: object = None,
    ) -> Answer | None:
        """The answer; None when it was lost, which is then entered as such."""
        title = self._title(operation, path)
        self._book.begin(subject, title)
        try:
            status, answer = self._send(subject, method, path, body)
        except UnansweredError as error:
            self._leave_open(subject, title, wish, error)
            return None
        if status >= 400:
            self._book.refuse(subject, title, f"{status} {answer.get('details')}")
        return Answer(status, str(answer.get("error")), str(answer.get("id")))


def is_certain(subject: Subject) -> bool:
    """Whether an agent must know it: acknowledged, and no delete of it may have happened."""
    return subject.acknowledged and not subject.wishes & {ABSENT, DELETED}
