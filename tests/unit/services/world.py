"""Replicas in an invented world, in which what is decided comes about sooner or later."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from cnet.model.route import ServiceRoute
from cnet.model.workload import WorkloadTemplate
from cnet.services import changes
from cnet.services.deciding import Decision, Memory, Replica, State, decide
from cnet.services.record import ServiceRecord, ServiceSpec, ServiceUpdate, replica_id

TEMPLATE = {"type": "mlmodel", "config": {"model_path": "/m.onnx"}}


def service(name: str = "iris", **fields: Any) -> ServiceRecord:
    """A new service as its owner writes it down."""
    spec = ServiceSpec.model_validate({"name": name, "template": TEMPLATE, **fields})
    return changes.created(spec, now=0.0, service_id=uuid.UUID(int=7))


def update(record: ServiceRecord, **fields: Any) -> ServiceRecord:
    """With a new version on its way."""
    fields = {"template": WorkloadTemplate.model_validate(TEMPLATE), **fields}
    return changes.updated(record, ServiceUpdate.model_validate(fields), now=0.0)


@dataclass
class World:
    """The record on the disk, the workloads, and a controller that may be killed."""

    record: ServiceRecord
    replicas: dict[str, Replica] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    now: float = 1000.0
    route: ServiceRoute | None = None
    submitted: list[str] = field(default_factory=list)
    gone: bool = False

    def look(self, *, killed_after: int = 1_000_000) -> Decision:
        """One look; the agent is killed after so many of its steps."""
        decision = decide(
            self.record,
            tuple(self.replicas.values()),
            self.memory,
            now=self.now,
            wall=self.now,
        )
        for number, step in enumerate(self._steps(decision)):
            if number >= killed_after:
                self.memory = Memory()
                return decision
            step()
        self.memory = decision.memory
        return decision

    def _steps(self, decision: Decision) -> list[Any]:
        return [
            lambda: self._write(decision.record),
            lambda: setattr(self, "route", decision.route),
            *(lambda each=each: self._submit(*each) for each in decision.create),
            *(lambda each=each: self._delete(each) for each in decision.delete),
            lambda: setattr(self, "gone", decision.gone),
        ]

    def _write(self, record: ServiceRecord) -> None:
        self.record = ServiceRecord.model_validate_json(record.model_dump_json())

    def _submit(self, version: str, number: int) -> None:
        revision = self.record.version(version).revision
        workload_id = replica_id(self.record, revision, number)
        assert workload_id not in self.submitted, "one id is submitted once"
        self.submitted.append(workload_id)
        self.replicas[workload_id] = Replica(
            workload_id=workload_id, revision=revision, number=number, state="starting"
        )

    def _delete(self, workload_id: str) -> None:
        self.become(workload_id, "ending")

    def become(self, workload_id: str, state: State, *, failed: bool = False) -> None:
        """Something happens to a replica; what is ending only ends."""
        if workload_id in self.replicas:
            self.replicas[workload_id] = replace(
                self.replicas[workload_id], state=state, failed=failed, why="it says so"
            )

    def all_become(self, state: State, *, of: tuple[State, ...] = ("starting",)) -> None:
        """Every replica in one of these states."""
        for workload_id, one in list(self.replicas.items()):
            if one.state in of:
                self.become(workload_id, state)

    def forget_ending(self) -> None:
        """What was asked to end is gone."""
        for workload_id, one in list(self.replicas.items()):
            if one.state == "ending":
                del self.replicas[workload_id]

    def in_state(self, state: State, version: str | None = None) -> list[Replica]:
        """Replicas in a state, of one version or of any."""
        revision = None if version is None else self.record.version(version).revision
        return [
            one
            for one in self.replicas.values()
            if one.state == state and revision in (None, one.revision)
        ]

    def routed(self) -> list[Replica]:
        """Ready ones that get requests."""
        assert self.route is not None
        ids = {workload_id for each in self.route.versions for workload_id in each.replicas}
        return [one for one in self.in_state("ready") if one.workload_id in ids]

    def settle(self, looks: int = 400) -> None:
        """Everything starts well and ends when asked, until nothing is decided any more."""
        for _ in range(looks):
            before = (self.record, dict(self.replicas), self.memory.draining)
            decision = self.look()
            self.all_become("ready", of=("starting", "waiting", "unreachable"))
            self.forget_ending()
            self.now = max(self.now + 0.1, decision.wake_at or 0.0)
            after = (self.record, dict(self.replicas), self.memory.draining)
            if after == before and decision.wake_at is None:
                return
        raise AssertionError(f"not settled: {self.record} {self.replicas}")
