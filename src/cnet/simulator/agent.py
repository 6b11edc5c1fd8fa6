"""An agent of the simulation: the real view, exchange, ledger and coordinator, and around them what
the manager does in a real one, on a simulated disk and with simulated runs.

Everything it knows dies with it, but for what its machine's disk has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from cnet.cluster.exchange import Exchange
from cnet.delegation import Coordinator
from cnet.delegation.messages import Assign, Message, from_json, to_json
from cnet.errors import CapacityError
from cnet.model.lifecycle import Event, Phase
from cnet.model.resources import Resources
from cnet.model.workload import WorkloadSpec, WorkloadStatus
from cnet.register import Ledger
from cnet.simulator.disk import Disk
from cnet.simulator.job import Job
from cnet.simulator.machine import Machine, Record, Run
from cnet.simulator.network import Network
from cnet.simulator.own_node import OwnNode
from cnet.simulator.runs import Runs
from cnet.simulator.state import State
from cnet.simulator.timeline import Timeline
from cnet.simulator.wishes import Wishes
from cnet.simulator.witness import Witness

TICK_S = 1.0
FLUSH_S = 0.02


class Agent:
    """One life of an agent, from its start to its crash; also the `World` of its coordinator."""

    def __init__(
        self, machine: Machine, timeline: Timeline, network: Network, witness: Witness
    ) -> None:
        self.machine = machine
        self.node_id = machine.node_id
        self.alive = True
        self.frozen = False
        self._timeline = timeline
        self._network = network
        self._witness = witness
        self._backlog: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        machine.incarnation += 1
        self.ledger = Ledger(machine.capacity)
        self.coordinator: Coordinator[Job] = Coordinator(
            self.node_id,
            self,
            incarnation=machine.incarnation,
            strategy=machine.strategy,
            lease_s=machine.lease_s,
        )
        self.exchange = Exchange(
            self.node_id,
            escalate=machine.escalates,
            share=machine.shares,
            transmit=partial(network.transmit, machine),
            deliver=self._deliver,
            route_changed=lambda node_id, up: self.coordinator.route_changed(node_id, up=up),
            dirty=self._dirty,
            now=machine.now,
        )
        self.exchange.view.on_change = self._node_changed
        self._assemble()

    def _assemble(self) -> None:
        """The parts that act on jobs, each on those before it."""
        machine, timeline, coordinator = self.machine, self._timeline, self.coordinator
        self._disk = Disk(machine, timeline, self._witness, self.handle)
        self._own_node = OwnNode(machine, self.ledger, coordinator, self.exchange, self.soon)
        self._state = State(
            machine, self.ledger, self._disk, self._own_node, coordinator, timeline, self._witness
        )
        self.jobs_by_id = self._state.jobs
        self._runs = Runs(
            machine, self.ledger, coordinator, self._state, self._disk, timeline, self.after
        )
        self._wishes = Wishes(coordinator, self._state, self._runs, self._disk, self._witness)

    def start(self) -> None:
        """Take up what the disk has, then tick and dial until the end."""
        self._timeline.note(f"{self.node_id} starts, incarnation {self.machine.incarnation}")
        self._recover()
        self.after(self._timeline.between(0, TICK_S), self._tick)
        self._network.agent_starts(self)

    # --- time ----------------------------------------------------------------------------------

    def after(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        """Do something later, if the agent still lives then."""
        self._timeline.after(delay_s, self.handle, call, *args)

    def handle(self, call: Callable[..., None], *args: Any) -> None:
        """Do something now, or when the agent goes on after it was frozen."""
        if not self.alive:
            return
        if self.frozen:
            self._backlog.append((call, args))
        else:
            call(*args)

    def freeze(self) -> None:
        """Nothing is handled until `thaw`; runs go on."""
        self.frozen = True

    def thaw(self) -> None:
        """Go on with all that has come meanwhile."""
        self.frozen = False
        while self._backlog and self.alive and not self.frozen:
            call, args = self._backlog.popleft()
            call(*args)

    def crash(self) -> None:
        """The end of this life."""
        self.alive = False
        self._disk.crash()

    def _tick(self) -> None:
        self.after(TICK_S, self._tick)
        self.exchange.tick()
        self.coordinator.tick()

    # --- what users ask ------------------------------------------------------------------------

    def submit(self, job_id: str, spec: WorkloadSpec) -> None:
        """Accept a workload, place it if there is room; durable before it is started."""
        job = Job(job_id, spec, WorkloadStatus(created_at=self.now()))
        self.jobs_by_id[job_id] = job
        self.tell_of_self()
        node_id = self.coordinator.choose(job)
        if node_id == self.node_id:
            self._state.place_here(job)
        elif node_id is not None:
            job.status = replace(job.status, **self.coordinator.assign(job, node_id))
        elif not spec.queue or self.coordinator.plan(spec, job).impossible:
            self._timeline.note(f"{self.node_id} rejects {job_id}")
            del self.jobs_by_id[job_id]
            self.coordinator.forgotten(job)
            return
        self._disk.put(job_id, Record(spec, job.status))
        self._disk.then(partial(self._accepted, job))

    def _accepted(self, job: Job) -> None:
        job.accepted = True
        self._witness.accepts(self.node_id, job.id, job.spec)
        if job.status.holds_room:
            self._own_node.count(job, None)
            self._own_node.room_changed()
            self._runs.drive(job)
        elif job.status.host is not None:
            self._timeline.note(f"{job.id} given to {job.status.host} by {self.node_id}")
            self.coordinator.assigned(job)
        else:
            self.coordinator.place(job)

    def ask(self, job_id: str, desired: str) -> None:
        """A user's wish for an own workload; void where the state does not allow it."""
        job = self.get(job_id)
        if job is not None:
            self._wishes.ask(job, desired)

    # --- World ---------------------------------------------------------------------------------

    def now(self) -> float:
        """The machine's clock."""
        return self.machine.now()

    def soon(self, call: Callable[[], None]) -> None:
        """The next event of this moment."""
        self.after(0, call)

    def durably(self, then: Callable[[], None]) -> None:
        """Behind all that waits for the disk."""
        self._disk.then(then)

    def send(self, node_id: str, message: Message) -> bool:
        """Over the links."""
        return self.exchange.post(node_id, to_json(message))

    def jobs(self) -> Iterable[Job]:
        """Every accepted workload."""
        return (job for job in self.jobs_by_id.values() if job.accepted)

    def get(self, job_id: str) -> Job | None:
        """The accepted workload of that id."""
        job = self.jobs_by_id.get(job_id)
        return job if job is not None and job.accepted else None

    def change(self, job: Job, **changes: Any) -> None:
        """Without an event of the lifecycle: as the owner or the host says."""
        ended = job.status.is_terminal
        self._state.apply(job, None, **changes)
        if not ended and job.status.is_terminal:
            self._state.note_end(job)

    def reserve(self, job: Job) -> str | None:
        """Take room here."""
        try:
            self._state.place_here(job)
        except CapacityError as error:
            return ", ".join(error.reasons)
        return None

    def drive(self, job: Job) -> None:
        """Run what has room."""
        self._runs.drive(job)

    def preemptible(self) -> Iterable[tuple[str, int, Resources, float]]:
        """What may be ended for others."""
        return [
            (job.id, job.spec.priority, job.wanted, job.status.started_at or 0.0)
            for job in self.jobs()
            if job.spec.preemptible and job.status.may_be_preempted
        ]

    def node_version(self) -> tuple[int, int]:
        """Of this node with every change so far."""
        self.tell_of_self()
        return self._own_node.version

    def admit(self, request: Assign, owner: str, decide: Callable[[Job | str], None]) -> None:
        """Look at it for a moment."""
        self.after(self._timeline.between(0, 0.02), self._admit, request, owner, decide)

    def _admit(self, request: Assign, owner: str, decide: Callable[[Job | str], None]) -> None:
        spec = WorkloadSpec.model_validate(request.spec)
        if spec.type not in self.machine.kinds:
            decide(f"type: no executor for {spec.type}")
            return
        status = WorkloadStatus(
            owner=owner,
            assignment=request.k,
            generation=request.generation,
            attempt=request.attempt,
            created_at=request.created_at,
        )
        decide(Job(request.id, spec, status))

    def accept(self, job: Job) -> None:
        """A workload of another agent is to run here."""
        job.accepted = True
        self.jobs_by_id[job.id] = job
        self._timeline.note(f"{self.node_id} takes {job.id} k={job.status.assignment}")
        self._own_node.count(job, None)
        self._own_node.room_changed()
        self._state.write(job)

    def wish(self, job: Job, desired: str, then: Callable[[], None]) -> None:
        """As a user here would; what the state does not allow is void."""
        self.soon(partial(self._wish, job, desired, then))

    def _wish(self, job: Job, desired: str, then: Callable[[], None]) -> None:
        self._wishes.ask_hosted(job, desired)
        self.durably(then)

    def forget(self, job: Job) -> None:
        """Erase it."""
        self._state.forget(job)

    def leased(self, job: Job, until: float) -> None:
        """Start it, or let its run go on."""
        self._runs.leased(job, until)

    def preempt(self, job: Job) -> None:
        """End it for another one."""
        if job.status.desired == "running":
            self._wishes.end(job, "running", "preempted")

    # --- news ----------------------------------------------------------------------------------

    def run_ended(self, run: Run) -> None:
        """The machine says so."""
        self._runs.ended(run)

    def self_changed(self) -> None:
        """Something about this node is new: tell of it in a moment."""
        self._own_node.changed()

    def tell_of_self(self) -> None:
        """Let the scheduler and other agents know this node as it is now."""
        self._own_node.tell()

    def _node_changed(self, node_id: str) -> None:
        if node_id != self.node_id:
            self.coordinator.node_changed(node_id, self.exchange.view.get(node_id))

    def _deliver(self, source: str, body: Any) -> None:
        message = from_json(body)
        if self._timeline.story is not None:
            self._timeline.story.append(
                f"{self._timeline.now:10.3f} {source} → {self.node_id}: {message}"
            )
        self.coordinator.receive(source, message)

    def _dirty(self, peer_id: str) -> None:
        self.after(self._timeline.between(0, FLUSH_S), self.exchange.flush, peer_id)

    # --- recovery ------------------------------------------------------------------------------

    def _recover(self) -> None:
        jobs = []
        self.machine.sweep()
        for job_id, record in self.machine.disk.items():
            job = self.jobs_by_id[job_id] = Job(job_id, record.spec, record.status)
            job.accepted = True
            jobs.append(job)
            self._own_node.count(job, None)
            if job.status.holds_room:
                self.ledger.adopt(job_id, job.wanted, job.status.gpu_devices)
        self._own_node.first()
        for job in jobs:
            self._take_up(job)

    def _take_up(self, job: Job) -> None:
        status = job.status
        if status.phase == Phase.STOPPED and status.desired == "running" and status.host is None:
            if not status.returned:
                self._state.apply(job, Event.RESTART_ASKED)
        elif status.is_terminal:
            self._state.note_end(job)
        elif status.holds_room:
            self._runs.take_up(job)
        self.coordinator.recover(job)
