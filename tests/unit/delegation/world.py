"""A world around a coordinator whose disk is as slow as the test wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from cnet.delegation import Coordinator
from cnet.delegation.messages import Assign, Message
from cnet.model.lifecycle import Phase
from cnet.model.resources import Resources
from cnet.model.workload import WorkloadSpec, WorkloadStatus

OWNER = "jiangsu"
INCARNATION = 7


@dataclass(eq=False)
class Task:
    id: str
    spec: WorkloadSpec
    status: WorkloadStatus = field(default_factory=WorkloadStatus)

    @property
    def wanted(self) -> Resources:
        return self.spec.requirements.to_resources()


class Node:
    """A world in which nothing happens by itself."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.known: dict[str, Task] = {}
        self.driven: list[str] = []
        self._waiting: list[Callable[[], None]] = []
        self._next: list[Callable[[], None]] = []
        self.coordinator: Coordinator[Task] = Coordinator(
            "nanjing", self, incarnation=INCARNATION, strategy="default", lease_s=15.0
        )

    def sync(self) -> None:
        """The disk has everything now."""
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then()
        self.turn()

    def hear(self, message: Message, source: str = OWNER) -> None:
        self.coordinator.receive(source, message)
        self.turn()

    def turn(self) -> None:
        """Do what was put off, and what that puts off."""
        while self._next:
            calls, self._next = self._next, []
            for call in calls:
                call()

    def now(self) -> float:
        return 1000.0

    def soon(self, call: Callable[[], None]) -> None:
        self._next.append(call)

    def durably(self, then: Callable[[], None]) -> None:
        self._waiting.append(then)

    def send(self, node_id: str, message: Message) -> bool:
        self.sent.append(message)
        return True

    def jobs(self) -> Iterable[Task]:
        return self.known.values()

    def get(self, job_id: str) -> Task | None:
        return self.known.get(job_id)

    def change(self, job: Task, **changes: Any) -> None:
        job.status = replace(job.status, **changes)

    def reserve(self, job: Task) -> str | None:
        self.change(job, phase=Phase.STARTING)
        return None

    def drive(self, job: Task) -> None:
        self.driven.append(job.id)

    def preemptible(self) -> list[tuple[str, int, Resources, float]]:
        return []

    def node_version(self) -> tuple[int, int]:
        return (INCARNATION, 1)

    def admit(self, request: Assign, owner: str, decide: Callable[[Task | str], None]) -> None:
        status = WorkloadStatus(owner=owner, assignment=request.k)
        decide(Task(request.id, WorkloadSpec.model_validate(request.spec), status))

    def accept(self, job: Task) -> None:
        self.known[job.id] = job

    def wish(self, job: Task, desired: str, then: Callable[[], None]) -> None:
        raise AssertionError("nobody wishes anything here")

    def forget(self, job: Task) -> None:
        raise AssertionError("nothing is forgotten here")

    def leased(self, job: Task, until: float) -> None:
        raise AssertionError("nothing is leased here")

    def preempt(self, job: Task) -> None:
        raise AssertionError("nothing is preempted here")
