"""The one door to the state of a simulated agent's jobs: memory, ledger, disk and news together."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from cnet.delegation import Coordinator
from cnet.model.lifecycle import Effect, Event, step
from cnet.register import Ledger
from cnet.simulator.disk import Disk
from cnet.simulator.job import Job
from cnet.simulator.machine import Machine, Record
from cnet.simulator.own_node import OwnNode
from cnet.simulator.timeline import Timeline
from cnet.simulator.witness import Witness


class State:
    """The jobs of one life of an agent, by id."""

    def __init__(
        self,
        machine: Machine,
        ledger: Ledger,
        disk: Disk,
        own_node: OwnNode,
        coordinator: Coordinator[Job],
        timeline: Timeline,
        witness: Witness,
    ) -> None:
        self.jobs: dict[str, Job] = {}
        self._machine = machine
        self._ledger = ledger
        self._disk = disk
        self._own_node = own_node
        self._coordinator = coordinator
        self._timeline = timeline
        self._witness = witness

    def apply(self, job: Job, event: Event | None, **changes: Any) -> None:
        """Step the lifecycle, or with None only change the status."""
        before = job.status
        if event is not None:
            phase, effects = step(before.phase, event)
            job.status = replace(before, phase=phase, **changes)
            if Effect.RELEASE in effects:
                self._ledger.release(job.id)
                self._witness.releases(self._machine, job.id)
        else:
            job.status = replace(before, **changes)
        status = job.status
        node_id = self._machine.node_id
        self._timeline.note(
            f"{node_id}: {job.id} {status.phase} {status.reason} host={status.host} "
            f"k={status.assignment} desired={status.desired} gen={status.generation} "
            f"owner={status.owner} {'returned' if status.returned else ''}"
        )
        if before.host is not None and status.host != before.host:
            self._witness.taken_back(node_id, job.id, before.host)
        if not job.accepted:
            self._own_node.room_changed()
            return
        self._witness.books(node_id, self._ledger, job)
        self._own_node.count(job, before)
        if before.phase != status.phase:
            self._own_node.room_changed()
        self._coordinator.changed(job)
        self.write(job)

    def write(self, job: Job) -> None:
        """Record its status, unless it is not accepted yet or being erased."""
        if job.accepted and not job.forgetting:
            self._disk.put(job.id, Record(job.spec, job.status))

    def place_here(self, job: Job) -> None:
        """Take room for the next attempt. Raises CapacityError."""
        allocation = self._ledger.reserve(job.id, job.wanted)
        self.apply(
            job,
            Event.PLACED,
            attempt=job.status.attempt + 1,
            gpu_devices=allocation.gpu_devices,
            reason="starting",
            detail=None,
            started_at=None,
            exit_code=None,
        )

    def note_end(self, job: Job) -> None:
        """It may have ended for good."""
        status = job.status
        if status.is_terminal and status.desired == "deleted" and status.host is None:
            self.forget(job)

    def forget(self, job: Job) -> None:
        """Erase it."""
        if not job.forgetting:
            job.forgetting = True
            self._witness.forgets(self._machine.node_id, job.id, job.status)
            self._disk.put(job.id, None)
            self._disk.then(partial(self._forgotten, job))

    def _forgotten(self, job: Job) -> None:
        self._machine.remove(job.id)
        del self.jobs[job.id]
        self._timeline.note(f"{self._machine.node_id} has forgotten {job.id}")
        self._coordinator.forgotten(job)
