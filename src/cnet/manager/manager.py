"""submit → place → run → track, and the same again after the agent was killed.

One task drives each workload that holds room; it alone starts and ends runs. Users' wishes (stop,
restart, delete) step the lifecycle table, are made durable, and only then reach that task. What has
to be durable before the world may change is awaited; what a restart finds out again is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskStatus

from cnet._support import clock
from cnet.delegation import Coordinator
from cnet.delegation.messages import from_json
from cnet.errors import CapacityError, MalformedError, PortTakenError, TransitionError
from cnet.executors.base import Executor, KeepsLogs
from cnet.executors.execs import Console, ExecRequest
from cnet.manager.acceptance import Acceptance
from cnet.manager.book import Book
from cnet.manager.driving import Driving
from cnet.manager.elsewhere import Elsewhere
from cnet.manager.engines import Engines
from cnet.manager.events import EventBus
from cnet.manager.execs import ExecSessions
from cnet.manager.forgetting import Forgetting
from cnet.manager.history import History
from cnet.manager.journal import Journal, Record
from cnet.manager.own_node import OwnNode
from cnet.manager.placing import Alone, Network, Placing
from cnet.manager.recovery import Recovery
from cnet.manager.reserving import Reserving
from cnet.manager.results import Results
from cnet.manager.self_report import SelfReport
from cnet.manager.state import State
from cnet.manager.stopping import Stopping
from cnet.manager.tasks import Tasks
from cnet.manager.wishes import Wishes
from cnet.manager.workloads import Workload
from cnet.model.lifecycle import TERMINAL, Event, wire_status
from cnet.model.node import KnownNode
from cnet.model.route import ServiceRoute
from cnet.model.workload import Strategy, WorkloadSpec, WorkloadStatus
from cnet.register import Ledger, PortBook
from cnet.scheduler import Plan
from cnet.supervision import Usage

log = structlog.get_logger(__name__)

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
        self.history = History(ledger)
        self.own_node = OwnNode(node_id, ledger, executors, incarnation=incarnation)
        network = network or Alone()
        self._placing = Placing(self, network)
        self.coordinator: Coordinator[Workload] = Coordinator(
            node_id,
            self._placing,
            incarnation=incarnation,
            strategy=strategy,
            lease_s=lease_s,
        )
        self._report = SelfReport(
            self.own_node, self.coordinator, network, journal, self._placing.soon
        )
        self._state = State(journal, ledger, PortBook(), self.events)
        self._state.on_change = self._changed
        self._tasks = Tasks()
        self._book = Book()
        self.until_idle: Callable[[str], Awaitable[None]] = _at_once
        """returns when nobody here has a request under way to the workload of that id"""
        self._execs = ExecSessions(node_id)
        self._assemble(keep_ended)

    def _assemble(self, keep_ended: int) -> None:
        """The parts that act on workloads, each on those before it."""
        state, coordinator, book, tasks = self._state, self.coordinator, self._book, self._tasks
        elsewhere = Elsewhere(state, coordinator)
        self._forgetting = Forgetting(
            book, state, coordinator, tasks, elsewhere, keep_ended=keep_ended
        )
        self._driving = Driving(
            self.node_id,
            state,
            coordinator,
            tasks,
            self._forgetting,
            lambda workload_id: self.until_idle(workload_id),
        )
        self._stopping = Stopping(state, coordinator, self._driving, self._forgetting)
        results = Results(state, self._forgetting)
        self._wishes = Wishes(
            state, self._driving, self._stopping, self._forgetting, elsewhere, results
        )
        self._reserving = Reserving(self.node_id, state, book, tasks, self._stopping)
        self._acceptance = Acceptance(
            self.node_id,
            self.executors,
            book=book,
            state=state,
            report=self._report,
            coordinator=coordinator,
            reserving=self._reserving,
            driving=self._driving,
        )
        self._engines = Engines(
            self.executors,
            own_node=self.own_node,
            book=book,
            state=state,
            report=self._report,
        )
        self._recovery = Recovery(
            self.executors,
            book=book,
            state=state,
            report=self._report,
            coordinator=coordinator,
            driving=self._driving,
            forgetting=self._forgetting,
            tasks=tasks,
            results=results,
        )

    def prepare(self, labels: Mapping[str, str]) -> None:
        """Take over the configured labels, and what was set at run time before the last end."""
        self._report.prepare(labels)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Take up what the journal knows, then drive workloads until cancelled.

        Cancelling leaves the workloads running, to be found again.
        """
        async with anyio.create_task_group() as group:
            self._tasks.open(group)
            self._recovery.run()
            self._engines.start()
            self._tasks.spawn(self._placing.run, name="placing")
            self._tasks.spawn(self.history.run, name="history")
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

    # --- this node -----------------------------------------------------------------------------

    def tell_of_self(self) -> None:
        """Let the scheduler and other agents know this node as it is now."""
        self._report.tell()

    def self_changed(self) -> None:
        """Something about this node is new: tell of it in a moment, together with what follows."""
        self._report.changed()

    def room_changed(self) -> None:
        """What is stored on this node takes more or less of its room than before."""
        self._report.room_changed()

    def holds_data(self, sizes: Mapping[str, int]) -> None:
        """Which data this node has: key → bytes."""
        self.own_node.data = sizes
        self._report.changed()

    def publish_routes(self, routes: Mapping[str, ServiceRoute]) -> None:
        """Tell everybody how requests to the services of this agent are shared."""
        if routes != self.own_node.routes:
            self.own_node.routes = routes
            self._report.changed()

    async def drain(self, draining: bool) -> None:
        """Take no new work (or take some again); durable on return."""
        await self._report.drain(draining)

    async def relabel(self, changes: Mapping[str, str | None]) -> None:
        """Set labels of this node, or with None remove them; durable on return."""
        await self._report.relabel(changes)

    # --- what users ask ------------------------------------------------------------------------

    async def submit(self, spec: WorkloadSpec) -> tuple[Workload, bool]:
        """Accept a workload; durable on return, and started if there is room.

        The second value is False when `spec.id` was accepted before. Nothing is kept when this
        raises: SpecError, CapacityError (it fits no node, or not now and it may not wait),
        PortTakenError, StorageFullError; ConflictError when the id belongs to another spec or to
        a workload that is being deleted.
        """
        return await self._acceptance.submit(spec)

    async def check_replica(self, spec: WorkloadSpec) -> None:
        """Raise what `submit` would for something that is to run several times and be served."""
        await self._acceptance.check_replica(spec)

    async def enter_done(
        self, spec: WorkloadSpec, *, workload_id: str, result: Mapping[str, Any]
    ) -> Workload:
        """Accept a workload whose work is done already (an upload); durable on return.

        Nothing is kept when this raises.
        """
        return await self._acceptance.enter_done(spec, workload_id=workload_id, result=result)

    async def stop(self, workload_id: str) -> Workload:
        """Ask it to end; the wish is durable on return, the end is not awaited.

        Harmless when it is stopped or being stopped; TransitionError when it ended by itself. One
        that has ended and left a result (data) is relieved of that.
        """
        workload = self.get(workload_id)
        await self._wishes.stop(workload)
        return workload

    async def restart(self, workload_id: str) -> Workload:
        """End the present run, if there is one, and start another; durable on return.

        Raises TransitionError when the workload is being deleted (also when a delete overtakes
        this), ConflictError when its executor is missing.
        """
        workload = self.get(workload_id)
        await self._wishes.restart(workload)
        return workload

    async def delete(self, workload_id: str) -> Workload:
        """Stop it if need be and forget it; the wish is durable on return.

        `workload.forgotten` tells when it has come about.
        """
        workload = self.get(workload_id)
        await self._wishes.delete(workload)
        return workload

    def get(self, workload_id: str) -> Workload:
        """Raises NotFoundError."""
        return self._book.get(workload_id)

    def workloads(self) -> Iterable[Workload]:
        """All that were accepted, oldest first."""
        return self._book.accepted()

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

    async def exec(self, workload_id: str, request: ExecRequest, console: Console) -> int:
        """Run a command inside a workload that runs here; its exit code. See `ExecSessions`."""
        return await self._execs.run(self.get(workload_id), request, console)

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
                await self._stopping.ask(workload, desired="stopped")
                group.start_soon(workload.until, _is_terminal)

    # --- what the coordinator asks, see `Placing` ----------------------------------------------

    def reserve(self, workload: Workload) -> str | None:
        """Take room for a pending workload, which is `starting` then; or say why not.

        An own one whose port is taken has failed over that.
        """
        if workload.executor is None:
            return f"no executor for {workload.spec.type}"
        try:
            changes = self._reserving.take(workload)
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
                self._forgetting.note_end(workload)
            return error.message
        if workload.accepted:
            self._state.post(workload, Event.PLACED, **changes)
        else:
            workload.step(Event.PLACED, **changes)
            self._report.room_changed()
        return None

    def take_in(self, workload: Workload) -> None:
        """A workload of another agent is this node's to run from now on."""
        self._book.add(workload)
        workload.accept()
        self._report.count(workload, None)
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
            self._forgetting.note_end(workload)

    def drive(self, workload: Workload) -> None:
        """Run a workload that has room."""
        self._driving.drive(workload)

    async def wish_here(self, workload: Workload, desired: str) -> None:
        """What the owner of a workload that this node hosts wants done with it."""
        if desired == "stopped":
            await self.stop(workload.id)
        elif desired == "deleted":
            await self.delete(workload.id)
        else:
            await self.restart(workload.id)

    async def preempt(self, workload: Workload) -> None:
        """End a workload for one of higher priority; it is queued again.

        Not when its run has just ended by itself, see `PREEMPTIBLE`.
        """
        if workload.status.desired == "running" and workload.status.may_be_preempted:
            await self._stopping.ask(workload, desired="running", reason="preempted")

    def erase(self, workload: Workload) -> None:
        """Forget an ended workload and its traces."""
        self._forgetting.forget(workload)

    def spawn(self, work: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
        """Do something in a task of its own, until the agent ends."""
        self._tasks.spawn(work, *args)

    def _changed(self, workload: Workload, before: WorkloadStatus) -> None:
        """Every change of a status of this agent comes by here."""
        self._report.count(workload, before)
        self.coordinator.changed(workload)


async def _at_once(_workload_id: str) -> None:
    """Nobody asks anything until somebody says so."""


def _is_terminal(status: WorkloadStatus) -> bool:
    return status.is_terminal
