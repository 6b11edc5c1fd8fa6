"""submit → place → run → track, and the same again after the agent was killed.

One task drives each workload that holds room; it alone starts and ends runs. Users' wishes (stop,
restart, delete) step the lifecycle table, are made durable, and only then reach that task. What has
to be durable before the world may change is awaited; what a restart finds out again is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import orjson
import structlog
from anyio.abc import TaskGroup, TaskStatus

from cnet._support import clock
from cnet.delegation import Coordinator
from cnet.delegation.host import is_leased
from cnet.delegation.messages import from_json
from cnet.errors import (
    CapacityError,
    CnetError,
    ConflictError,
    MalformedError,
    NotFoundError,
    PortTakenError,
    SpecError,
    TransitionError,
)
from cnet.executors.base import Executor, KeepsLogs, ServesEndpoint
from cnet.executors.reservation import KIND as RESERVATION
from cnet.manager.admission import NotHereError, admit, parsed, restore, unprepared
from cnet.manager.driver import Driver, LeaseOverError, endpoint_changes
from cnet.manager.events import EventBus
from cnet.manager.journal import Journal, Record
from cnet.manager.own_node import OwnNode
from cnet.manager.placing import Alone, Network, Placing
from cnet.manager.ports import require_free
from cnet.manager.results import discard_result, enter_done
from cnet.manager.state import State, until_written
from cnet.manager.workloads import Workload
from cnet.model.lifecycle import TERMINAL, Event, Phase, wire_status
from cnet.model.node import KnownNode
from cnet.model.workload import Strategy, WorkloadSpec, WorkloadStatus
from cnet.register import Ledger, PortBook
from cnet.scheduler import Plan
from cnet.supervision import Usage

log = structlog.get_logger(__name__)

_FRESH: dict[str, object] = {
    "reason": "starting",
    "detail": None,
    "pid": None,
    "exit_code": None,
    "exit_signal": None,
    "log_tail": (),
    "started_at": None,
    "ended_at": None,
}

MOST_REASONS = 64
"""Nodes of which an answer tells why they do not do."""
TICK_S = 0.5
DEFAULT_LEASE_S = 15.0


class Manager:
    """The workloads of one agent.

    Use: `await group.start(manager.run)` once the executors are usable, then the other methods, all
    on the event loop's thread.
    """

    def __init__(
        self,
        *,
        node_id: str,
        ledger: Ledger,
        journal: Journal,
        executors: Mapping[str, Executor],
        keep_ended: int,
        network: Network | None = None,
        incarnation: int = 1,
        strategy: Strategy = "default",
        lease_s: float = DEFAULT_LEASE_S,
    ) -> None:
        self.node_id = node_id
        self.ledger = ledger
        self.executors = executors
        self.journal = journal
        self.events = EventBus(journal)
        self.own_node = OwnNode(node_id, ledger, executors, incarnation=incarnation)
        self._network = network or Alone()
        self._placing = Placing(self, self._network)
        self.coordinator: Coordinator[Workload] = Coordinator(
            node_id,
            self._placing,
            incarnation=incarnation,
            strategy=strategy,
            lease_s=lease_s,
        )
        self._state = State(journal, ledger, PortBook(), self.events)
        self._state.on_change = self._changed
        self._driver = Driver(self._state, node_id, self._enqueue, self._lease_of)
        self._workloads: dict[str, Workload] = {}
        self._ended: dict[str, None] = {}  # ids in the order of their ends
        self._keep_ended = keep_ended
        self._tasks: TaskGroup | None = None
        self._news_of_self = False
        self._labels_set: dict[str, str | None] = {}

    def prepare(self, labels: Mapping[str, str]) -> None:
        """Take over the configured labels, and what was set at run time before the last end."""
        self._labels_set = orjson.loads(self.journal.meta("labels") or "{}")
        labels_now: dict[str, str | None] = {**labels, **self._labels_set}
        self.own_node.labels = {k: v for k, v in labels_now.items() if v is not None}
        self.own_node.draining = self.journal.meta("draining") == "yes"

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Take up what the journal knows, then drive workloads until cancelled.

        Cancelling leaves the workloads running, to be found again.
        """
        async with anyio.create_task_group() as group:
            self._tasks = group
            self._recover()
            group.start_soon(self._placing.run, name="placing")
            task_status.started()
            while True:
                await anyio.sleep(TICK_S)
                self.coordinator.tick()

    # --- news from elsewhere -------------------------------------------------------------------

    def node_changed(self, node_id: str, node: KnownNode | None) -> None:
        """The view has something new about another node; None when it is not known any more."""
        if node_id != self.node_id:
            self.coordinator.node_changed(node_id, node)

    def route_changed(self, node_id: str, up: bool) -> None:
        """A node can be reached from now on, or not any more."""
        self.coordinator.route_changed(node_id, up=up)

    def receive(self, source: str, body: Any) -> None:
        """A message of another agent; one that makes no sense is logged and dropped."""
        try:
            self.coordinator.receive(source, from_json(body))
        except MalformedError as error:
            log.warning("message_refused", source=source, why=error.message)

    def tell_of_self(self) -> None:
        """Let the scheduler and other agents know this node as it is now."""
        if self._news_of_self:
            self._news_of_self = False
            state = self.own_node.state()
            self.coordinator.node_changed(
                self.node_id, KnownNode(state=state, node_type="local", reachable=True)
            )
            self._network.set_self(state)

    def self_changed(self) -> None:
        """Something about this node is new: tell of it in a moment, together with what follows."""
        if not self._news_of_self:
            self._news_of_self = True
            self._placing.soon(self.tell_of_self)

    async def drain(self, draining: bool) -> None:
        """Take no new work (or take some again); durable on return."""
        self.own_node.draining = draining
        self.self_changed()
        await self.journal.put_meta("draining", "yes" if draining else "no")

    def give_up(self, node_id: str) -> None:
        """A person says that a node will never be back: place its workloads elsewhere.

        Raises TransitionError while it can be reached.
        """
        node = self.coordinator.known.get(node_id)
        if node_id == self.node_id or (node is not None and node.reachable):
            raise TransitionError(
                f"node: {node_id} can be reached; only a node that is lost can be given up"
            )
        self.coordinator.owner.given_up(node_id)

    async def relabel(self, changes: Mapping[str, str | None]) -> None:
        """Set labels of this node, or with None remove them; durable on return."""
        labels = {**self.own_node.labels, **changes}
        self.own_node.labels = {key: value for key, value in labels.items() if value is not None}
        self.self_changed()
        self._labels_set |= changes
        await self.journal.put_meta("labels", orjson.dumps(self._labels_set).decode())

    # --- what users ask ------------------------------------------------------------------------

    async def submit(self, spec: WorkloadSpec) -> tuple[Workload, bool]:
        """Accept a workload; durable on return, and started if there is room.

        The second value is False when `spec.id` was accepted before. Nothing is kept when this
        raises: SpecError, CapacityError (it fits no node, or not now and it may not wait),
        PortTakenError, StorageFullError; ConflictError when the id belongs to another spec or to
        a workload that is being deleted.
        """
        if spec.id is not None and (known := self._workloads.get(str(spec.id))) is not None:
            await known.until_accepted()
            self._require_staying(known)
            if known.spec != spec:
                raise ConflictError(f"id: {spec.id} belongs to another workload")
            return known, False
        workload, not_here = await self._admit(spec)
        if workload.id in self._workloads:  # submitted twice at the same moment
            return await self.submit(spec)
        # Whoever asks may go away; what was begun is finished, or there would be a record in the
        # journal that nobody here knows of.
        with anyio.CancelScope(shield=True):
            await self._accept(workload, not_here)
        return workload, True

    async def _admit(self, spec: WorkloadSpec) -> tuple[Workload, CnetError | None]:
        """The workload, and what keeps it from this very node. Raises SpecError, ConflictError."""
        self._require_reservation(spec)
        if spec.type not in self.executors and self._others_run(spec.type):
            return unprepared(spec), ConflictError(f"type: no executor for {spec.type} here")
        try:
            return await admit(spec, self.executors), None
        except NotHereError as error:
            if len(self.coordinator.index) <= 1:
                raise
            return parsed(spec, self.executors), error

    def _others_run(self, kind: str) -> bool:
        return any(kind in node.state.kinds for node in self.coordinator.known.values())

    async def stop(self, workload_id: str) -> Workload:
        """Ask it to end; the wish is durable on return, the end is not awaited.

        Harmless when it is stopped or being stopped; TransitionError when it ended by itself. One
        that has ended and left a result (data) is relieved of that.
        """
        workload = self.get(workload_id)
        phase = workload.status.phase
        if phase in TERMINAL and phase != Phase.STOPPED and not workload.status.result:
            raise TransitionError(f"workload {workload_id} is {phase} and cannot be stopped")
        with anyio.CancelScope(shield=True):
            if workload.status.host is not None:
                await self._wish_elsewhere(workload, "stopped")
            else:
                await self._ask_to_stop(workload, desired="stopped")
                await self._discard_result(workload)
        return workload

    async def restart(self, workload_id: str) -> Workload:
        """End the present run, if there is one, and start another; durable on return.

        Raises TransitionError when the workload is being deleted (also when a delete overtakes
        this), ConflictError when its executor is missing.
        """
        workload = self.get(workload_id)
        self._require_staying(workload)
        if workload.status.host is None:
            self._require_executor(workload)
        with anyio.CancelScope(shield=True):
            if workload.status.host is not None:
                await self._wish_elsewhere(workload, "running")
                return workload
            if workload.status.phase == Phase.PENDING:
                return workload
            if workload.status.phase == Phase.BACKOFF:
                await self._ask_to_stop(workload, desired="running")
                self._require_staying(workload)  # a delete may have come while the disk was written
            if workload.status.phase in TERMINAL:
                self._state.post(
                    workload,
                    Event.RESTART_ASKED,
                    desired="running",
                    reason="placing",
                    restarted_at=(),
                )
                self._enqueue(workload)
                await self.journal.update(workload.id, workload.status)
            else:
                await self._ask_to_stop(workload, desired="running")
        return workload

    async def delete(self, workload_id: str) -> Workload:
        """Stop it if need be and forget it; the wish is durable on return.

        `workload.forgotten` tells when it has come about.
        """
        workload = self.get(workload_id)
        with anyio.CancelScope(shield=True):
            if workload.status.host is not None:
                await self._wish_elsewhere(workload, "deleted")
            else:
                await self._ask_to_stop(workload, desired="deleted")
                if workload.status.is_terminal:
                    self._spawn_forget(workload)
        return workload

    def get(self, workload_id: str) -> Workload:
        """Raises NotFoundError."""
        workload = self._workloads.get(workload_id)
        if workload is None or not workload.accepted:
            raise NotFoundError(f"no workload {workload_id}")
        return workload

    def workloads(self) -> Iterable[Workload]:
        """All that were accepted, oldest first."""
        return (workload for workload in self._workloads.values() if workload.accepted)

    def counts(self) -> dict[str, int]:
        """Number of workloads by wire status."""
        return Counter(wire_status(workload.status.phase) for workload in self.workloads())

    def plan(self, spec: WorkloadSpec) -> Plan:
        """Where it would go now, and why not elsewhere."""
        self.tell_of_self()
        return self.coordinator.plan(spec)

    def why(self, workload_id: str) -> tuple[Workload, Plan]:
        """A workload, and where it could go if it were placed now."""
        workload = self.get(workload_id)
        self.tell_of_self()
        return workload, self.coordinator.plan(workload.spec, workload)

    async def usage(self, workload_id: str) -> Usage:
        """What the present run uses. Raises TransitionError when nothing runs."""
        workload = self.get(workload_id)
        run = workload.run
        if run is None:
            raise TransitionError(f"workload {workload_id} is not running")
        try:
            return await anyio.to_thread.run_sync(run.usage)
        except ProcessLookupError:
            raise TransitionError(f"workload {workload_id} has just ended") from None

    def keeper_of_logs(self, workload: Workload) -> KeepsLogs | None:
        """Who has the workload's output, if its kind leaves any."""
        executor = workload.executor
        return executor if isinstance(executor, KeepsLogs) else None

    async def stop_all(self) -> None:
        """Stop everything that is not ended and wait until it is."""
        async with anyio.create_task_group() as group:
            for workload in list(self.workloads()):
                status = workload.status
                if workload.executor is None or status.is_terminal or status.host is not None:
                    continue
                await self._ask_to_stop(workload, desired="stopped")
                group.start_soon(workload.until, _is_terminal)

    # --- acceptance and placing ----------------------------------------------------------------

    async def _accept(self, workload: Workload, not_here: CnetError | None) -> None:
        self._workloads[workload.id] = workload
        if not_here is not None:
            self.coordinator.owner.refused(workload, self.node_id, not_here.message)
        try:
            self._place_new(workload, not_here)
            await self.journal.accept(Record(workload.id, workload.spec, workload.status))
        except BaseException:
            del self._workloads[workload.id]
            self.own_node.discount(workload)
            self._state.ledger.release(workload.id)
            self._state.ports.release(workload.id)
            workload.refuse()
            self.coordinator.forgotten(workload)
            self._room_changed()
            raise
        workload.accept()
        self.journal.post_events([self.events.workload_changed(workload)])
        if workload.status.holds_room:
            self._drive(workload, recorded=True)
        elif workload.status.host is not None:
            self.coordinator.assigned(workload)
        else:
            self.coordinator.place(workload)  # room may have come while the disk was written

    def _place_new(self, workload: Workload, not_here: CnetError | None) -> None:
        self.tell_of_self()
        node_id = self.coordinator.choose(workload)
        if node_id == self.node_id:
            try:
                self._require_port(workload)
            except PortTakenError as error:
                not_here = error
                self.coordinator.owner.refused(workload, self.node_id, error.message)
                node_id = self.coordinator.choose(workload)
        if node_id == self.node_id:
            workload.step(Event.PLACED, **self._reserve(workload))
            self.own_node.count(workload, None)
            self._room_changed()
        elif node_id is not None:
            workload.change(**self.coordinator.assign(workload, node_id))
        elif isinstance(not_here, SpecError | PortTakenError):
            raise not_here
        else:
            self._let_wait(workload)

    def _let_wait(self, workload: Workload) -> None:
        plan = self.coordinator.plan(workload.spec, workload)
        reasons = plan.reasons(MOST_REASONS)
        if plan.impossible:
            raise CapacityError(
                "requirements: no node could ever hold this: " + "; ".join(reasons),
                reasons=reasons,
            )
        if not workload.spec.queue:
            raise CapacityError("requirements: no room now: " + "; ".join(reasons), reasons=reasons)
        self._require_port(workload)
        workload.change(reason="no_capacity", detail="; ".join(reasons))

    def _require_port(self, workload: Workload) -> None:
        if isinstance(workload.executor, ServesEndpoint):
            wanted = workload.executor.wanted_port(workload.config)
            if wanted:
                host = workload.executor.host(workload.config)
                require_free(self._state.ports, workload.id, host=host, port=wanted)

    def _reserve(self, workload: Workload) -> dict[str, object]:
        """Room and port for the next attempt; raises PortTakenError, in which case neither."""
        held = self._reservation_here(workload.spec)
        if held is not None:
            self.ledger.release(held.id)
        try:
            allocation = self.ledger.reserve(workload.id, workload.wanted)
            endpoint = endpoint_changes(workload, self._state, self.node_id)
        except (CapacityError, PortTakenError):
            self.ledger.release(workload.id)
            if held is not None:
                self.ledger.adopt(held.id, held.wanted, held.status.gpu_devices)
            raise
        if held is not None:
            self.spawn(self._claimed, held)
        return {
            **_FRESH,
            **endpoint,
            "attempt": workload.status.attempt + 1,
            "gpu_devices": allocation.gpu_devices,
        }

    def _reservation_here(self, spec: WorkloadSpec) -> Workload | None:
        """The reservation that a workload claims, if it still holds room on this node."""
        if spec.reservation is None:
            return None
        held = self._workloads.get(str(spec.reservation))
        if held is None or not held.status.holds_room or self.ledger.allocation(held.id) is None:
            return None
        return held

    async def _claimed(self, held: Workload) -> None:
        await self._ask_to_stop(held, desired="stopped", reason="claimed")

    def _require_reservation(self, spec: WorkloadSpec) -> None:
        if spec.reservation is None:
            return
        held = self._workloads.get(str(spec.reservation))
        if held is None or held.spec.type != RESERVATION:
            raise SpecError(
                f"reservation: {spec.reservation} is none that this agent knows of",
                field="reservation",
            )
        if held.status.is_terminal:
            raise ConflictError(
                f"reservation: {spec.reservation} holds no room any more: it is "
                f"{held.status.phase} ({held.status.reason or 'its time is over'})"
            )

    def reserve(self, workload: Workload) -> str | None:
        """Take room for a pending workload, which is `starting` then; or say why not.

        An own one whose port is taken has failed over that.
        """
        if workload.executor is None:
            return f"no executor for {workload.spec.type}"
        try:
            changes = self._reserve(workload)
        except CapacityError as error:
            return ", ".join(error.reasons)
        except PortTakenError as error:
            if workload.status.owner is None:
                self._state.post(
                    workload,
                    Event.EXITED_BADLY,
                    reason="port_taken",
                    detail=error.message,
                    ended_at=clock.now(),
                )
                self._note_end(workload)
            return error.message
        if workload.accepted:
            self._state.post(workload, Event.PLACED, **changes)
        else:
            workload.step(Event.PLACED, **changes)
            self._room_changed()
        return None

    def take_in(self, workload: Workload) -> None:
        """A workload of another agent is this node's to run from now on."""
        self._workloads[workload.id] = workload
        workload.accept()
        self.own_node.count(workload, None)
        self._room_changed()
        self.journal.post_record(Record(workload.id, workload.spec, workload.status))
        self.journal.post_events([self.events.workload_changed(workload)])

    def change(self, workload: Workload, **changes: Any) -> None:
        """Change what is known of a workload, as its host or its owner says."""
        ended = workload.status.is_terminal and not workload.status.result
        if changes.get("phase") in TERMINAL and workload.status.ended_at is None:
            changes.setdefault("ended_at", clock.now())
        if workload.accepted:
            self._state.post(workload, **changes)
        else:
            workload.change(**changes)
        if not ended and workload.status.is_terminal:
            self._note_end(workload)

    def _enqueue(self, workload: Workload) -> None:
        workload.stop_asked = anyio.Event()
        workload.driven = False
        self.coordinator.place(workload)

    def _changed(self, workload: Workload, before: WorkloadStatus) -> None:
        """Every change of a status of this agent comes by here."""
        self.own_node.count(workload, before)
        if before.phase != workload.status.phase or before.endpoint != workload.status.endpoint:
            self._room_changed()
        self.coordinator.changed(workload)

    def _room_changed(self) -> None:
        self.self_changed()
        self.coordinator.look_again()

    def room_changed(self) -> None:
        """What is stored on this node takes more or less of its room than before."""
        self._room_changed()

    async def enter_done(
        self, spec: WorkloadSpec, *, workload_id: str, result: Mapping[str, Any]
    ) -> Workload:
        """Accept a workload whose work is done already (an upload); durable on return.

        Nothing is kept when this raises.
        """
        workload = parsed(spec, self.executors, workload_id=workload_id)
        enter_done(workload, result)
        self._workloads[workload.id] = workload
        try:
            with anyio.CancelScope(shield=True):
                await self.journal.accept(Record(workload.id, workload.spec, workload.status))
        except BaseException:
            del self._workloads[workload.id]
            workload.refuse()
            raise
        workload.accept()
        self.journal.post_events([self.events.workload_changed(workload)])
        return workload

    async def _discard_result(self, workload: Workload) -> None:
        """Delete what an ended workload has left, and tell so; harmless when there is nothing."""
        if workload.status.is_terminal and workload.status.result:
            await discard_result(workload, self._state)
            self._note_end(workload)

    # --- driving -------------------------------------------------------------------------------

    def drive(self, workload: Workload) -> None:
        """Run a workload that has room."""
        self._drive(workload)

    def spawn(self, work: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
        """Do something in a task of its own, until the agent ends."""
        self._group.start_soon(work, *args)

    def _lease_of(self, workload: Workload) -> float | None:
        """Until when the next run may last; None without a bound. Raises LeaseOverError."""
        if workload.status.owner is None or not is_leased(workload):
            return None
        until = self.coordinator.host.lease(workload)
        if until is None:
            raise LeaseOverError(f"its owner, {workload.status.owner}, has not renewed its lease")
        return until

    def _drive(self, workload: Workload, *, found: bool = False, recorded: bool = False) -> None:
        """`recorded`: the attempt is on the disk already; `found`: a run of it may exist."""
        workload.driven = True
        self._group.start_soon(
            self._drive_to_end, workload, found, recorded or found, name=f"drive {workload.id}"
        )

    async def _drive_to_end(self, workload: Workload, found: bool, recorded: bool) -> None:
        if not recorded:
            # The intent to start must be on the disk before anything is started: a run that the
            # journal does not know of would be an orphan after a crash.
            await until_written(lambda: self.journal.update(workload.id, workload.status))
        await self._driver.drive(workload, found=found)
        status = workload.status
        if not status.is_terminal:
            return  # queued again, and perhaps driven by another task by now
        workload.driven = False
        if status.reason == "lease_expired" and status.desired == "running":
            self.coordinator.host.give_back(workload, "lease_expired", str(status.detail))
        else:
            self._note_end(workload)

    def _note_end(self, workload: Workload) -> None:
        if workload.status.desired == "deleted" and workload.status.host is None:
            self._spawn_forget(workload)
            return
        if workload.status.owner is not None:
            return  # how long it is kept is its owner's affair
        if workload.status.result:
            return  # what it left is there, and it is the only handle to that
        self._ended.pop(workload.id, None)  # it may have ended, and been restarted, before
        self._ended[workload.id] = None
        while len(self._ended) > self._keep_ended:
            first = next(iter(self._ended))
            del self._ended[first]
            oldest = self._workloads.get(first)
            if oldest is None or not oldest.status.is_terminal or oldest.status.result:
                continue
            if oldest.status.host is not None:
                self.spawn(self._wish_elsewhere, oldest, "deleted")
            else:
                self._spawn_forget(oldest)

    @property
    def _group(self) -> TaskGroup:
        if self._tasks is None:
            raise RuntimeError("the manager is not running")
        return self._tasks

    # --- stopping and forgetting ---------------------------------------------------------------

    async def _wish_elsewhere(self, workload: Workload, desired: str) -> None:
        """Make a wish for a workload on another node durable and pass it on."""
        status = workload.status
        if status.desired == "deleted" or (status.desired == desired != "running"):
            return
        changes: dict[str, Any] = {}
        if not status.is_terminal:
            changes = {"phase": Phase.STOPPING, "reason": "stopping", "detail": None}
        elif desired == "running":
            changes = {"phase": Phase.PENDING, "reason": "restarting", "detail": None}
        if status.host is not None and not self.coordinator.reachable(status.host):
            changes["reason"] = "node_unreachable"
            changes["detail"] = f"{status.host} cannot be reached; it is told when it can"
        generation = status.generation + 1
        await self._state.commit(workload, desired=desired, generation=generation, **changes)
        self.coordinator.tell(workload)

    async def wish_here(self, workload: Workload, desired: str) -> None:
        """What the owner of a workload that this node hosts wants done with it."""
        if desired == "stopped":
            await self.stop(workload.id)
        elif desired == "deleted":
            await self.delete(workload.id)
        else:
            await self.restart(workload.id)

    async def preempt(self, workload: Workload) -> None:
        """End a workload for one of higher priority; it is queued again."""
        if workload.status.desired == "running":
            await self._ask_to_stop(workload, desired="running", reason="preempted")

    def erase(self, workload: Workload) -> None:
        """Forget an ended workload and its traces."""
        self._spawn_forget(workload)

    async def _ask_to_stop(
        self, workload: Workload, *, desired: str, reason: str = "stopping"
    ) -> None:
        """Step towards the end whatever the phase; durable on return, then the driver is told."""
        if workload.status.desired == "deleted":
            desired = "deleted"
        phase = workload.status.phase
        if workload.status.holds_room:
            self._require_executor(workload)
        if phase in {Phase.PENDING, Phase.BACKOFF}:
            self.coordinator.discard(workload)
            await self._commit_and_tell(
                workload,
                Event.STOP_ASKED,
                desired=desired,
                reason="stopped_by_user",
                detail=None,
                ended_at=clock.now(),
            )
            if phase == Phase.PENDING:  # there is no driver that would
                self._note_end(workload)
        elif phase in {Phase.STARTING, Phase.RUNNING}:
            await self._commit_and_tell(
                workload, Event.STOP_ASKED, desired=desired, reason=reason, detail=None
            )
            if not workload.driven and workload.status.phase == Phase.STOPPING:
                self._drive(workload, recorded=True)  # it was waiting for its first lease
        elif workload.status.desired != desired:
            await self._state.commit(workload, desired=desired)

    async def _commit_and_tell(self, workload: Workload, event: Event, **changes: object) -> None:
        told = workload.stop_asked
        try:
            await self._state.commit(workload, event, **changes)
        finally:
            told.set()

    def _spawn_forget(self, workload: Workload) -> None:
        if not workload.being_forgotten:
            workload.being_forgotten = True
            self._group.start_soon(self._forget, workload, name=f"forget {workload.id}")

    async def _forget(self, workload: Workload) -> None:
        if workload.executor is not None:
            try:
                await until_written(partial(workload.executor.remove, workload.id))
            except OSError:
                log.exception("remove_failed", workload_id=workload.id)  # swept at the next start
        event = self.events.workload_changed(workload, deleted=True)
        await until_written(lambda: self.journal.delete([workload.id], [event]))
        self._workloads.pop(workload.id, None)
        workload.forgotten.set()
        self.coordinator.forgotten(workload)

    @staticmethod
    def _require_staying(workload: Workload) -> None:
        """What is on its way out is not brought back: its record and its files are going."""
        if workload.status.desired == "deleted" or workload.being_forgotten:
            raise TransitionError(f"workload {workload.id} is being deleted")

    def _require_executor(self, workload: Workload) -> None:
        if workload.executor is None:
            raise ConflictError(
                f"type: no executor for {workload.spec.type!r} with this config is installed here; "
                "install the plug-in that ran it"
            )

    # --- recovery ------------------------------------------------------------------------------

    def _recover(self) -> None:
        workloads = [restore(record, self.executors) for record in self.journal.load()]
        for workload in workloads:
            self._workloads[workload.id] = workload
            self.own_node.count(workload, None)
            if workload.status.holds_room:
                self.ledger.adopt(workload.id, workload.wanted, workload.status.gpu_devices)
                if workload.status.port is not None:
                    self._state.ports.claim(workload.status.port, workload.id)
        self._news_of_self = True
        self.tell_of_self()
        for workload in workloads:
            self._take_up(workload)

    def _take_up(self, workload: Workload) -> None:
        status = workload.status
        if workload.executor is None and status.host is None and not status.is_terminal:
            log.error("no_executor", workload_id=workload.id, type=workload.spec.type)
        elif status.phase == Phase.STOPPED and status.desired == "running" and not status.host:
            # A restart during the pause before a next try was cut off between its two steps.
            self._state.post(workload, Event.RESTART_ASKED, reason="placing", restarted_at=())
        elif status.is_terminal:
            self._note_end(workload)
            if status.desired == "stopped" and status.host is None:
                self.spawn(self._discard_result, workload)  # a stop was cut off
        elif status.holds_room:
            if status.phase == Phase.STOPPING:
                workload.stop_asked.set()
            self._drive(workload, found=True)
        self.coordinator.recover(workload)


def _is_terminal(status: WorkloadStatus) -> bool:
    return status.is_terminal
