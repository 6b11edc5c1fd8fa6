"""submit → place → run → track, and the same again after the agent was killed.

One task drives each workload that holds room; it alone starts and ends runs. Users' wishes (stop,
restart, delete) step the lifecycle table, are made durable, and only then reach that task. What has
to be durable before the world may change is awaited; what a restart finds out again is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup, TaskStatus

from cnet._support import clock
from cnet.errors import (
    CapacityError,
    ConflictError,
    NotFoundError,
    PortTakenError,
    TransitionError,
)
from cnet.executors.base import Executor, KeepsLogs, ServesEndpoint
from cnet.manager.admission import admit, restore
from cnet.manager.driver import Driver, endpoint_changes
from cnet.manager.events import EventBus
from cnet.manager.journal import Journal, Record
from cnet.manager.ports import require_free
from cnet.manager.state import State, until_written
from cnet.manager.workloads import Workload
from cnet.model.lifecycle import TERMINAL, Event, Phase, wire_status
from cnet.model.workload import WorkloadSpec, WorkloadStatus
from cnet.register import Ledger, PortBook
from cnet.scheduler import NodeSnapshot, Plan, place
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
    ) -> None:
        self.node_id = node_id
        self.ledger = ledger
        self.executors = executors
        self.events = EventBus(journal)
        self._journal = journal
        self._state = State(journal, ledger, PortBook(), self.events)
        self._state.on_release = self._place_pending
        self._driver = Driver(self._state, node_id, self._enqueue)
        self._workloads: dict[str, Workload] = {}
        self._pending: dict[str, Workload] = {}
        self._ended: dict[str, None] = {}  # ids in the order of their ends
        self._keep_ended = keep_ended
        self._tasks: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Take up what the journal knows, then drive workloads until cancelled.

        Cancelling leaves the workloads running, to be found again.
        """
        async with anyio.create_task_group() as group:
            self._tasks = group
            self._recover()
            task_status.started()
            await anyio.sleep_forever()

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
        workload = await admit(spec, self.executors)
        if workload.id in self._workloads:  # submitted twice at the same moment
            return await self.submit(spec)
        # Whoever asks may go away; what was begun is finished, or there would be a record in the
        # journal that nobody here knows of.
        with anyio.CancelScope(shield=True):
            await self._accept(workload)
        return workload, True

    async def stop(self, workload_id: str) -> Workload:
        """Ask it to end; the wish is durable on return, the end is not awaited.

        Harmless when it is stopped or being stopped; TransitionError when it ended by itself.
        """
        workload = self.get(workload_id)
        phase = workload.status.phase
        if phase in TERMINAL and phase != Phase.STOPPED:
            raise TransitionError(f"workload {workload_id} is {phase} and cannot be stopped")
        with anyio.CancelScope(shield=True):
            await self._ask_to_stop(workload, desired="stopped")
        return workload

    async def restart(self, workload_id: str) -> Workload:
        """End the present run, if there is one, and start another; durable on return.

        Raises TransitionError when the workload is being deleted (also when a delete overtakes
        this), ConflictError when its executor is missing.
        """
        workload = self.get(workload_id)
        self._require_staying(workload)
        self._require_executor(workload)
        with anyio.CancelScope(shield=True):
            if workload.status.phase == Phase.PENDING:
                return workload
            if workload.status.phase == Phase.BACKOFF:
                await self._ask_to_stop(workload, desired="running")
                self._require_staying(workload)  # a delete may have come while the disk was written
            if workload.status.phase in TERMINAL:
                self._state.post(workload, Event.RESTART_ASKED, desired="running", restarted_at=())
                self._enqueue(workload)
                await self._journal.update(workload.id, workload.status)
            else:
                await self._ask_to_stop(workload, desired="running")
        return workload

    async def delete(self, workload_id: str) -> Workload:
        """Stop it if need be and forget it; the wish is durable on return.

        `workload.forgotten` tells when it has come about.
        """
        workload = self.get(workload_id)
        with anyio.CancelScope(shield=True):
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
        return place(spec, [self._snapshot()])

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
                if workload.executor is not None and not workload.status.is_terminal:
                    await self._ask_to_stop(workload, desired="stopped")
                    group.start_soon(workload.until, _is_terminal)

    # --- acceptance and placing ----------------------------------------------------------------

    async def _accept(self, workload: Workload) -> None:
        self._workloads[workload.id] = workload
        try:
            placed = self._place_new(workload)
            record = Record(workload.id, workload.spec, workload.status)
            await self._journal.accept(record)
        except BaseException:
            del self._workloads[workload.id]
            self._state.ledger.release(workload.id)
            self._state.ports.release(workload.id)
            workload.refuse()
            self._place_pending()
            raise
        workload.accept()
        self._journal.post_events([self.events.workload_changed(workload)])
        if placed:
            self._drive(workload, recorded=True)
        else:
            self._pending[workload.id] = workload
            self._place_pending()  # room may have come while the disk was written

    def _place_new(self, workload: Workload) -> bool:
        if isinstance(workload.executor, ServesEndpoint):
            wanted = workload.executor.wanted_port(workload.config)
            if wanted:
                host = workload.executor.host(workload.config)
                require_free(self._state.ports, workload.id, host=host, port=wanted)
        plan = self.plan(workload.spec)
        if plan.impossible:
            raise CapacityError(
                "requirements: no node could ever hold this: " + "; ".join(plan.reasons()),
                reasons=plan.reasons(),
            )
        if plan.candidates:
            workload.step(Event.PLACED, **self._reserve(workload))
            return True
        if not workload.spec.queue:
            raise CapacityError(
                "requirements: no room now: " + "; ".join(plan.reasons()), reasons=plan.reasons()
            )
        workload.change(reason="no_capacity", detail="; ".join(plan.reasons()))
        return False

    def _reserve(self, workload: Workload) -> dict[str, object]:
        """Room and port for the next attempt; raises PortTakenError, in which case neither."""
        allocation = self.ledger.reserve(workload.id, workload.wanted)
        try:
            endpoint = endpoint_changes(workload, self._state, self.node_id)
        except PortTakenError:
            self.ledger.release(workload.id)
            raise
        return {
            **_FRESH,
            **endpoint,
            "attempt": workload.status.attempt + 1,
            "gpu_devices": allocation.gpu_devices,
        }

    def _enqueue(self, workload: Workload) -> None:
        workload.stop_asked = anyio.Event()
        self._pending[workload.id] = workload
        self._place_pending()

    def _place_pending(self) -> None:
        """Place what fits now, oldest first; smaller ones may pass one that does not fit yet."""
        for workload in list(self._pending.values()):
            plan = self.plan(workload.spec)
            if plan.candidates:
                self._place_queued(workload)
            else:
                detail = "; ".join(plan.reasons())
                if detail != workload.status.detail:
                    self._state.post(workload, reason="no_capacity", detail=detail)

    def _place_queued(self, workload: Workload) -> None:
        del self._pending[workload.id]
        try:
            changes = self._reserve(workload)
        except PortTakenError as error:
            self._state.post(
                workload,
                Event.EXITED_BADLY,
                reason="port_taken",
                detail=error.message,
                ended_at=clock.now(),
            )
            self._note_end(workload)
            return
        self._state.post(workload, Event.PLACED, **changes)
        self._drive(workload)

    def _snapshot(self) -> NodeSnapshot:
        return NodeSnapshot(
            node_id=self.node_id,
            capacity=self.ledger.capacity,
            available=self.ledger.available,
            kinds=self.executors.keys(),
        )

    # --- driving -------------------------------------------------------------------------------

    def _drive(self, workload: Workload, *, found: bool = False, recorded: bool = False) -> None:
        """`recorded`: the attempt is on the disk already; `found`: a run of it may exist."""
        self._group.start_soon(
            self._drive_to_end, workload, found, recorded or found, name=f"drive {workload.id}"
        )

    async def _drive_to_end(self, workload: Workload, found: bool, recorded: bool) -> None:
        if not recorded:
            # The intent to start must be on the disk before anything is started: a run that the
            # journal does not know of would be an orphan after a crash.
            await until_written(lambda: self._journal.update(workload.id, workload.status))
        await self._driver.drive(workload, found=found)
        if workload.status.is_terminal:
            self._note_end(workload)

    def _note_end(self, workload: Workload) -> None:
        if workload.status.desired == "deleted":
            self._spawn_forget(workload)
            return
        self._ended.pop(workload.id, None)  # it may have ended, and been restarted, before
        self._ended[workload.id] = None
        while len(self._ended) > self._keep_ended:
            first = next(iter(self._ended))
            del self._ended[first]
            oldest = self._workloads.get(first)
            if oldest is not None and oldest.status.is_terminal:
                self._spawn_forget(oldest)

    @property
    def _group(self) -> TaskGroup:
        if self._tasks is None:
            raise RuntimeError("the manager is not running")
        return self._tasks

    # --- stopping and forgetting ---------------------------------------------------------------

    async def _ask_to_stop(self, workload: Workload, *, desired: str) -> None:
        """Step towards the end whatever the phase; durable on return, then the driver is told."""
        if workload.status.desired == "deleted":
            desired = "deleted"
        phase = workload.status.phase
        if workload.status.holds_room:
            self._require_executor(workload)
        if phase in {Phase.PENDING, Phase.BACKOFF}:
            self._pending.pop(workload.id, None)
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
                workload, Event.STOP_ASKED, desired=desired, reason="stopping", detail=None
            )
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
                await workload.executor.remove(workload.id)
            except OSError:
                log.exception("remove_failed", workload_id=workload.id)  # swept at the next start
        event = self.events.workload_changed(workload, deleted=True)
        await until_written(lambda: self._journal.delete([workload.id], [event]))
        self._workloads.pop(workload.id, None)
        workload.forgotten.set()

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
        workloads = [restore(record, self.executors) for record in self._journal.load()]
        for workload in workloads:
            self._workloads[workload.id] = workload
            if workload.status.holds_room:
                self.ledger.adopt(workload.id, workload.wanted, workload.status.gpu_devices)
                if workload.status.port is not None:
                    self._state.ports.claim(workload.status.port, workload.id)
        for workload in workloads:
            self._take_up(workload)
        self._place_pending()

    def _take_up(self, workload: Workload) -> None:
        status = workload.status
        if workload.executor is None and not status.is_terminal:
            log.error("no_executor", workload_id=workload.id, type=workload.spec.type)
        elif status.phase == Phase.STOPPED and status.desired == "running":
            # A restart during the pause before a next try was cut off between its two steps.
            self._state.post(workload, Event.RESTART_ASKED, restarted_at=())
            self._pending[workload.id] = workload
        elif status.is_terminal:
            self._note_end(workload)
        elif status.phase == Phase.PENDING:
            self._pending[workload.id] = workload
        else:
            if status.phase == Phase.STOPPING:
                workload.stop_asked.set()
            self._drive(workload, found=True)


def _is_terminal(status: WorkloadStatus) -> bool:
    return status.is_terminal
