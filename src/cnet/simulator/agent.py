"""An agent of the simulation: the real view, exchange, ledger and coordinator, and around them what
the manager does in a real one, on a simulated disk and with simulated runs.

Everything it knows dies with it, but for what its machine's disk has.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from cnet.cluster.exchange import Exchange
from cnet.delegation import Coordinator
from cnet.delegation.messages import Assign, Message, from_json, to_json
from cnet.errors import CapacityError
from cnet.model.lifecycle import Effect, Event, Phase, step
from cnet.model.node import KnownNode, NodeState
from cnet.model.resources import Resources
from cnet.model.workload import RestartPolicy, WorkloadSpec, WorkloadStatus
from cnet.register import Ledger
from cnet.simulator.machine import Machine, Record, Run
from cnet.simulator.network import Network
from cnet.simulator.timeline import Timeline
from cnet.simulator.witness import Witness

TICK_S = 1.0
FLUSH_S = 0.02
COMMIT_S = (0.001, 0.03)
SLOW_COMMIT_S = (0.05, 1.5)
NO_RESTARTS = RestartPolicy()


class Job:
    """A workload in the memory of an agent."""

    __slots__ = (
        "accepted",
        "driven",
        "forgetting",
        "id",
        "run",
        "spec",
        "status",
        "stop_asked",
        "wanted",
    )

    def __init__(self, job_id: str, spec: WorkloadSpec, status: WorkloadStatus) -> None:
        self.id = job_id
        self.spec = spec
        self.status = status
        self.wanted = spec.requirements.to_resources()
        self.accepted = False
        """durable; before that nobody but the submitter knows of it"""
        self.driven = False
        self.forgetting = False
        self.stop_asked = False
        self.run: Run | None = None

    @property
    def restart(self) -> RestartPolicy:
        """When an ended run is followed by another."""
        return self.spec.restart or NO_RESTARTS


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
        self._writes: list[tuple[str, Record | None] | Callable[[], None]] = []
        self._group: list[tuple[str, Record | None] | Callable[[], None]] = []
        machine.incarnation += 1
        self.ledger = Ledger(machine.capacity)
        self.jobs_by_id: dict[str, Job] = {}
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
        self._seq = 0
        self._news_of_self = False
        self._labels: Counter[str] = Counter()
        self._preemptible: defaultdict[int, Resources] = defaultdict(Resources)

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
        """The end of this life; what was being written is on the disk up to some point."""
        self.alive = False
        for write in self._group[: self._timeline.chance.randint(0, len(self._group))]:
            if isinstance(write, tuple):
                self._to_disk(*write)
        self._group = []
        self._writes = []

    def _tick(self) -> None:
        self.after(TICK_S, self._tick)
        self.exchange.tick()
        self.coordinator.tick()

    # --- the disk ------------------------------------------------------------------------------

    def _write(self, job: Job) -> None:
        if job.accepted and not job.forgetting:
            self._queue((job.id, Record(job.spec, job.status)))

    def _queue(self, write: tuple[str, Record | None] | Callable[[], None]) -> None:
        self._writes.append(write)
        if not self._group:
            self._commit()

    def _commit(self) -> None:
        self._group, self._writes = self._writes, []
        slow = self._witness.slow_disks and self._timeline.happens(0.02)
        delay_s = self._timeline.between(*(SLOW_COMMIT_S if slow else COMMIT_S))
        doom = self.machine.doom
        if doom is not None and any(isinstance(w, tuple) and doom.strikes(w) for w in self._group):
            self.machine.doom = None
            self._timeline.after(self._timeline.between(0, delay_s), doom.strike)
        self._timeline.after(delay_s, self._committed)

    def _committed(self) -> None:
        if not self.alive:
            return
        group, self._group = self._group, []
        for write in group:
            if isinstance(write, tuple):
                self._to_disk(*write)
        if self._writes:
            self._commit()
        for write in group:
            if not isinstance(write, tuple):
                self.handle(write)

    def _to_disk(self, job_id: str, record: Record | None) -> None:
        if record is None:
            erased = self.machine.disk.pop(job_id, None)
            if erased is not None and erased.status.owner is None:
                self._witness.forgotten(job_id)
        else:
            self.machine.disk[job_id] = record

    # --- what users ask ------------------------------------------------------------------------

    def submit(self, job_id: str, spec: WorkloadSpec) -> None:
        """Accept a workload, place it if there is room; durable before it is started."""
        job = Job(job_id, spec, WorkloadStatus(created_at=self.now()))
        self.jobs_by_id[job_id] = job
        self.tell_of_self()
        node_id = self.coordinator.choose(job)
        if node_id == self.node_id:
            self._place_here(job)
        elif node_id is not None:
            job.status = replace(job.status, **self.coordinator.assign(job, node_id))
        elif not spec.queue or self.coordinator.plan(spec, job).impossible:
            self._timeline.note(f"{self.node_id} rejects {job_id}")
            del self.jobs_by_id[job_id]
            self.coordinator.forgotten(job)
            return
        self._queue((job_id, Record(spec, job.status)))
        self._queue(partial(self._accepted, job))

    def _accepted(self, job: Job) -> None:
        job.accepted = True
        self._witness.accepts(self.node_id, job.id, job.spec)
        if job.status.holds_room:
            self._count(job, None)
            self._room_changed()
            self._drive(job)
        elif job.status.host is not None:
            self._timeline.note(f"{job.id} given to {job.status.host} by {self.node_id}")
            self.coordinator.assigned(job)
        else:
            self.coordinator.place(job)

    def ask(self, job_id: str, desired: str) -> None:
        """A user's wish for an own workload; void where the state does not allow it."""
        job = self.get(job_id)
        if job is None or job.status.owner is not None or job.forgetting:
            return
        status = job.status
        if status.desired == "deleted" or (desired == "stopped" and status.is_terminal):
            return
        if status.host is not None and status.desired == desired != "running":
            return
        asked = self._witness.asks(job_id, desired)
        if status.host is not None:
            self._ask_elsewhere(job, desired)
        else:
            self._ask_here(job, desired)
        self.durably(partial(self._witness.answered, job_id, asked))

    def _ask_elsewhere(self, job: Job, desired: str) -> None:
        changes: dict[str, Any] = {}
        if not job.status.is_terminal:
            changes = {"phase": Phase.STOPPING, "reason": "stopping", "detail": None}
        elif desired == "running":
            changes = {"phase": Phase.PENDING, "reason": "restarting", "detail": None}
        self._apply(job, None, desired=desired, generation=job.status.generation + 1, **changes)
        self.durably(partial(self.coordinator.tell, job))

    def _ask_here(self, job: Job, desired: str) -> None:
        phase = job.status.phase
        if desired == "running":
            if phase == Phase.PENDING:
                return
            if phase == Phase.BACKOFF:
                self._ask_to_stop(job, desired)
            if job.status.is_terminal:
                self._apply(job, Event.RESTART_ASKED, desired="running", restarted_at=())
                self._requeue(job)
            else:
                self._ask_to_stop(job, desired)
        else:
            self._ask_to_stop(job, desired)
            if desired == "deleted" and job.status.is_terminal:
                self.forget(job)

    def _ask_to_stop(self, job: Job, desired: str, reason: str = "stopping") -> None:
        if job.status.desired == "deleted":
            desired = "deleted"
        phase = job.status.phase
        if phase in {Phase.PENDING, Phase.BACKOFF}:
            self.coordinator.discard(job)
            self._apply(job, Event.STOP_ASKED, desired=desired, reason="stopped_by_user")
            if phase == Phase.BACKOFF:
                job.driven = False
            self._note_end(job)
        elif phase in {Phase.STARTING, Phase.RUNNING}:
            self._apply(job, Event.STOP_ASKED, desired=desired, reason=reason, detail=None)
            self.durably(partial(self._stop_run, job))
            if not job.driven:  # it waits for its first lease
                self._drive(job)
        elif job.status.desired != desired:
            self._apply(job, None, desired=desired)

    # --- World ---------------------------------------------------------------------------------

    def now(self) -> float:
        """The machine's clock."""
        return self.machine.now()

    def soon(self, call: Callable[[], None]) -> None:
        """The next event of this moment."""
        self.after(0, call)

    def durably(self, then: Callable[[], None]) -> None:
        """Behind all that waits for the disk."""
        self._queue(then)

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
        self._apply(job, None, **changes)
        if not ended and job.status.is_terminal:
            self._note_end(job)

    def reserve(self, job: Job) -> str | None:
        """Take room here."""
        try:
            self._place_here(job)
        except CapacityError as error:
            return ", ".join(error.reasons)
        return None

    def drive(self, job: Job) -> None:
        """Run what has room."""
        self._drive(job)

    def preemptible(self) -> Iterable[tuple[str, int, Resources, float]]:
        """What may be ended for others."""
        return [
            (job.id, job.spec.priority, job.wanted, job.status.started_at or 0.0)
            for job in self.jobs()
            if job.spec.preemptible and job.status.holds_room and job.status.phase != Phase.STOPPING
        ]

    def node_version(self) -> tuple[int, int]:
        """Of this node with every change so far."""
        self.tell_of_self()
        return (self.machine.incarnation, self._seq)

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
        self._count(job, None)
        self._room_changed()
        self._write(job)

    def wish(self, job: Job, desired: str, then: Callable[[], None]) -> None:
        """As a user here would; what the state does not allow is void."""
        self.soon(partial(self._wish, job, desired, then))

    def _wish(self, job: Job, desired: str, then: Callable[[], None]) -> None:
        status = job.status
        void = job.forgetting or status.desired == "deleted"
        if not void and not (desired == "stopped" and status.is_terminal):
            self._ask_here(job, desired)
        self.durably(then)

    def forget(self, job: Job) -> None:
        """Erase it."""
        if not job.forgetting:
            job.forgetting = True
            self._witness.forgets(self.node_id, job.id, job.status)
            self._queue((job.id, None))
            self._queue(partial(self._forgotten, job))

    def _forgotten(self, job: Job) -> None:
        self.machine.remove(job.id)
        del self.jobs_by_id[job.id]
        self._timeline.note(f"{self.node_id} has forgotten {job.id}")
        self.coordinator.forgotten(job)

    def leased(self, job: Job, until: float) -> None:
        """Start it, or let its run go on."""
        if job.run is not None:
            self.machine.renew(job.run, until)
        elif job.status.phase == Phase.STARTING and not job.driven:
            self._drive(job)

    def preempt(self, job: Job) -> None:
        """End it for another one."""
        if job.status.phase == Phase.BACKOFF:
            self._ask_here(job, "running")
        elif job.status.desired == "running":
            self._ask_to_stop(job, "running", "preempted")

    # --- changes -------------------------------------------------------------------------------

    def _apply(self, job: Job, event: Event | None, **changes: Any) -> None:
        before = job.status
        if event is not None:
            phase, effects = step(before.phase, event)
            job.status = replace(before, phase=phase, **changes)
            if Effect.RELEASE in effects:
                self.ledger.release(job.id)
                self._witness.releases(self.machine, job.id)
        else:
            job.status = replace(before, **changes)
        status = job.status
        self._timeline.note(
            f"{self.node_id}: {job.id} {status.phase} {status.reason} host={status.host} "
            f"k={status.assignment} desired={status.desired} gen={status.generation} "
            f"owner={status.owner} {'returned' if status.returned else ''}"
        )
        if before.host is not None and status.host != before.host:
            self._witness.taken_back(self.node_id, job.id, before.host)
        if not job.accepted:
            self._room_changed()
            return
        self._witness.books(self, job)
        self._count(job, before)
        if before.phase != status.phase:
            self._room_changed()
        self.coordinator.changed(job)
        self._write(job)

    def _place_here(self, job: Job) -> None:
        allocation = self.ledger.reserve(job.id, job.wanted)
        self._apply(
            job,
            Event.PLACED,
            attempt=job.status.attempt + 1,
            gpu_devices=allocation.gpu_devices,
            reason="starting",
            detail=None,
            started_at=None,
            exit_code=None,
        )

    def _requeue(self, job: Job) -> None:
        job.stop_asked = False
        self.coordinator.place(job)

    def _note_end(self, job: Job) -> None:
        status = job.status
        if status.is_terminal and status.desired == "deleted" and status.host is None:
            self.forget(job)

    # --- runs ----------------------------------------------------------------------------------

    def _drive(self, job: Job) -> None:
        job.driven = True
        self.durably(partial(self._one_run, job, job.status.attempt, found=False))

    def _one_run(self, job: Job, attempt: int, *, found: bool) -> None:
        if job.status.attempt != attempt or not job.status.holds_room:
            return
        run = self.machine.attach(job.id, attempt) if found else None
        if run is not None:
            self._started(job, run)
        elif job.status.phase == Phase.STOPPING:
            self._conclude(job, well=False, reason=None, final=True)
        elif job.status.phase == Phase.RUNNING:
            self._conclude(job, well=False, reason="node_rebooted")
        else:
            self._start_run(job, attempt)

    def _start_run(self, job: Job, attempt: int) -> None:
        until = None
        if job.status.owner is not None and job.spec.on_node_loss == "reschedule":
            until = self.coordinator.host.lease(job)
            if until is None:
                self._conclude(job, well=False, reason="lease_expired", final=True)
                return
        run = self.machine.start(job.id, job.spec, attempt, lease_until=until)
        self.after(self._timeline.between(0.001, 0.1), self._started, job, run)

    def _started(self, job: Job, run: Run) -> None:
        job.run = run
        if job.spec.on_node_loss == "reschedule":
            until = self.coordinator.host.lease(job)
            if until is not None:
                self.machine.renew(run, until)
        self.ledger.commit(job.id)
        if job.status.phase == Phase.STARTING:
            self._apply(job, Event.READY, reason=None, started_at=self.now())
        if job.stop_asked:
            self.machine.stop(run)
        if not run.alive:
            self.run_ended(run)

    def _stop_run(self, job: Job) -> None:
        job.stop_asked = True
        if job.run is not None:
            self.machine.stop(job.run)

    def run_ended(self, run: Run) -> None:
        """The machine says so."""
        job = self.jobs_by_id.get(run.job_id)
        if job is not None and job.run is run:
            job.run = None
            well = run.reason is None and run.exit_code == 0
            final = run.reason == "lease_expired"
            self._conclude(job, well=well, reason=run.reason, exit_code=run.exit_code, final=final)

    def _conclude(
        self,
        job: Job,
        *,
        well: bool,
        reason: str | None,
        exit_code: int | None = None,
        final: bool = False,
    ) -> None:
        """What follows from the end of a run."""
        status = job.status
        ended = {"reason": reason, "exit_code": exit_code, "ended_at": self.now(), "pid": None}
        if status.phase == Phase.STOPPING:
            again = status.desired == "running"
            job.driven = False
            ended["reason"] = "stopped_by_user"
            self._apply(job, Event.GONE_AGAIN if again else Event.GONE, **ended)
            if again:
                self._requeue(job)
            else:
                self._note_end(job)
            return
        restarts = job.restart.policy == "on_failure" and not well and not final
        if restarts and status.restarts < job.restart.attempts:
            self._apply(job, Event.EXITED_AGAIN, restarts=status.restarts + 1, **ended)
            self.after(job.restart.backoff_s, self._next_attempt, job, status.attempt)
            return
        job.driven = False
        self._apply(job, Event.EXITED_WELL if well else Event.EXITED_BADLY, **ended)
        if reason == "lease_expired" and job.status.desired == "running":
            self.coordinator.host.give_back(job, "lease_expired", "its lease was over")
        else:
            self._note_end(job)

    def _next_attempt(self, job: Job, attempt: int) -> None:
        if job.status.phase == Phase.BACKOFF and job.status.attempt == attempt:
            self._apply(job, Event.BACKOFF_OVER, attempt=attempt + 1, reason="starting")
            self._drive(job)

    # --- this node, and others -----------------------------------------------------------------

    def _count(self, job: Job, before: WorkloadStatus | None) -> None:
        held = before is not None and before.holds_room
        holds = job.status.holds_room
        if held == holds:
            return
        for key, value in job.spec.labels.items():
            pair = f"{key}={value}"
            self._labels[pair] += 1 if holds else -1
            if not self._labels[pair]:
                del self._labels[pair]
        if job.spec.preemptible:
            room = self._preemptible[job.spec.priority]
            room = room + job.wanted if holds else room - job.wanted
            self._preemptible[job.spec.priority] = room
            if room == Resources():
                del self._preemptible[job.spec.priority]

    def _room_changed(self) -> None:
        self.self_changed()
        self.coordinator.look_again()

    def self_changed(self) -> None:
        """Something about this node is new: tell of it in a moment."""
        if not self._news_of_self:
            self._news_of_self = True
            self.soon(self.tell_of_self)

    def tell_of_self(self) -> None:
        """Let the scheduler and other agents know this node as it is now."""
        if not self._news_of_self:
            return
        self._news_of_self = False
        self._seq += 1
        machine = self.machine
        state = NodeState(
            node_id=self.node_id,
            incarnation=machine.incarnation,
            seq=self._seq,
            capacity=machine.capacity,
            available=self.ledger.available,
            kinds=machine.kinds,
            labels=machine.labels,
            draining=machine.draining,
            parent_id=machine.parent_id,
            peers=machine.peers,
            workloads=len(self.ledger),
            workload_labels=dict(self._labels),
            preemptible=tuple(sorted(self._preemptible.items())),
        )
        self.coordinator.node_changed(self.node_id, KnownNode(state=state, node_type="local"))
        self.exchange.set_self(state)

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
            self._count(job, None)
            if job.status.holds_room:
                self.ledger.adopt(job_id, job.wanted, job.status.gpu_devices)
        self._news_of_self = True
        self.tell_of_self()
        for job in jobs:
            self._take_up(job)

    def _take_up(self, job: Job) -> None:
        status = job.status
        if status.phase == Phase.STOPPED and status.desired == "running" and status.host is None:
            if not status.returned:
                self._apply(job, Event.RESTART_ASKED)
        elif status.is_terminal:
            self._note_end(job)
        elif status.holds_room:
            job.driven = True
            if status.phase == Phase.STOPPING:
                job.stop_asked = True
            if status.phase == Phase.BACKOFF:
                self.after(0, self._next_attempt, job, status.attempt)
            else:
                self.after(0, partial(self._one_run, job, status.attempt, found=True))
        self.coordinator.recover(job)
