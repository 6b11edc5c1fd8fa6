"""A workload in the manager's hands: what is wanted, what is the case, and who waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio

from cnet._support import clock
from cnet.errors import ConflictError, TransitionError
from cnet.executors.base import Executor, Run, Task
from cnet.model.lifecycle import Effect, Event, step
from cnet.model.workload import RestartPolicy, WorkloadSpec, WorkloadStatus


class Workload:
    """One workload of this agent. Only the manager changes it, on the event loop's thread."""

    def __init__(
        self,
        workload_id: str,
        spec: WorkloadSpec,
        status: WorkloadStatus,
        *,
        executor: Executor | None,
        config: Any,
        restart: RestartPolicy,
    ) -> None:
        self.id = workload_id
        self.spec = spec
        self.status = status
        self.executor = executor
        """None where none is installed here: it runs elsewhere, or its plug-in is gone"""
        self.config = config
        self.restart = restart
        self.run: Run | None = None
        """the present run, while there is one"""
        self.driven = False
        """a task of the manager is at its runs"""
        self.accepted = False
        """durable; before that nobody but the submitter knows of it"""
        self.being_forgotten = False
        self.forgotten = anyio.Event()
        self.stop_asked = anyio.Event()
        self._settled = anyio.Event()
        self.wanted = spec.requirements.to_resources()
        self._changed = anyio.Event()

    def accept(self) -> None:
        """It is durable now."""
        self.accepted = True
        self._settled.set()

    def refuse(self) -> None:
        """It was not accepted after all."""
        self._settled.set()

    async def until_accepted(self) -> None:
        """Wait until it is durable; raises ConflictError when it was refused instead."""
        if not self.accepted:
            await self._settled.wait()
        if not self.accepted:
            raise ConflictError(f"id: the first submit of {self.id} was refused; ask again")

    def require_staying(self) -> None:
        """Raises TransitionError once it is on its way out: its record and its files are going."""
        if self.status.desired == "deleted" or self.being_forgotten:
            raise TransitionError(f"workload {self.id} is being deleted")

    def require_executor(self) -> None:
        """Raises ConflictError where none is installed here."""
        if self.executor is None:
            raise ConflictError(
                f"type: no executor for {self.spec.type!r} with this config is installed here; "
                "install the plug-in that ran it"
            )

    def task(
        self,
        node_id: str,
        *,
        lease_until: float | None = None,
        ports: tuple[int, ...] | None = None,
    ) -> Task:
        """The present attempt, for the executor; `ports`: others than the status tells of."""
        if ports is None:
            ports = tuple(port["host_port"] for port in self.status.ports)
        return Task(
            workload_id=self.id,
            attempt=self.status.attempt,
            spec=self.spec,
            config=self.config,
            node_id=node_id,
            gpu_devices=self.status.gpu_devices,
            port=self.status.port,
            ports=ports,
            owner=self.status.owner,
            lease_until=lease_until,
        )

    def step(self, event: Event, **changes: Any) -> tuple[Effect, ...]:
        """Follow the lifecycle table and take over other changes of the status.

        Returns the effects that are owed. Raises TransitionError.
        """
        phase, effects = step(self.status.phase, event)
        self.change(phase=phase, **changes)
        return effects

    def change(self, **changes: Any) -> None:
        """Change the status and wake who waits."""
        self.status = replace(self.status, updated_at=clock.now(), **changes)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def until(self, condition: Callable[[WorkloadStatus], bool]) -> None:
        """Return when the status meets the condition."""
        while not condition(self.status):
            await self._changed.wait()
