"""The world of an agent's coordinator: its books, its journal, its network, its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import structlog
from pydantic import ValidationError

from cnet._support import clock
from cnet.delegation.messages import Assign, Message, to_json
from cnet.errors import CnetError, ConflictError, NotFoundError
from cnet.executors.base import EnforcesLease
from cnet.manager.admission import admit, field_error
from cnet.manager.journal import Record
from cnet.manager.state import FULL_DISK_PAUSE_S
from cnet.manager.workloads import Workload
from cnet.model.lifecycle import Phase
from cnet.model.node import NodeState
from cnet.model.resources import Resources
from cnet.model.workload import WorkloadSpec

if TYPE_CHECKING:
    from cnet.manager.manager import Manager

log = structlog.get_logger(__name__)


class Network(Protocol):
    """Links to other agents, as far as the manager uses them."""

    def post(self, to: str, body: Any) -> bool:
        """Send a message to a node; False when there is no way to it now."""
        ...

    def set_self(self, state: NodeState) -> None:
        """Tell others of this node."""
        ...


class Alone:
    """The network of an agent without links."""

    def post(self, to: str, body: Any) -> bool:
        """Nobody can be reached."""
        return False

    def set_self(self, state: NodeState) -> None:
        """There is nobody to tell."""


class Placing:
    """`cnet.delegation.World` over a manager."""

    def __init__(self, manager: Manager, network: Network) -> None:
        self._manager = manager
        self._network = network
        self._waiting: list[Callable[[], None]] = []
        self._work = anyio.Event()

    async def run(self) -> None:
        """Do what waits for the disk, in order, until cancelled."""
        while True:
            await self._work.wait()
            self._work = anyio.Event()
            waiting, self._waiting = self._waiting, []
            while lost := await self._manager.journal.barrier():
                log.warning("waiting_for_disk", workload_ids=sorted(lost))
                await anyio.sleep(FULL_DISK_PAUSE_S)
                for workload_id in lost:
                    workload = self.get(workload_id)
                    if workload is not None:
                        self._manager.journal.post_record(_record(workload))
            for then in waiting:
                _safely(then)

    # --- World ---------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds since the machine was started: what leases are counted in."""
        return clock.boottime()

    def soon(self, call: Callable[[], None]) -> None:
        """In the next turn of the event loop."""
        asyncio.get_running_loop().call_soon(_safely, call)

    def durably(self, then: Callable[[], None]) -> None:
        """After the next commit that has all changes so far."""
        self._waiting.append(then)
        self._work.set()

    def send(self, node_id: str, message: Message) -> bool:
        """Over the links."""
        return self._network.post(node_id, to_json(message))

    def jobs(self) -> Iterable[Workload]:
        """Every accepted workload."""
        return self._manager.workloads()

    def get(self, job_id: str) -> Workload | None:
        """The accepted workload of that id."""
        try:
            return self._manager.get(job_id)
        except NotFoundError:
            return None

    def change(self, job: Workload, **changes: Any) -> None:
        """Post it; a job of which the journal does not know yet is changed in memory only."""
        self._manager.change(job, **changes)

    def reserve(self, job: Workload) -> str | None:
        """Room and a port."""
        return self._manager.reserve(job)

    def drive(self, job: Workload) -> None:
        """Start a task for it."""
        self._manager.drive(job)

    def preemptible(self) -> Iterable[tuple[str, int, Resources, float]]:
        """What runs here and said so."""
        return [
            (each.id, each.spec.priority, each.wanted, each.status.started_at or 0.0)
            for each in self.jobs()
            if each.spec.preemptible and each.status.may_be_preempted
        ]

    def node_version(self) -> tuple[int, int]:
        """Tells others first, if there is something new."""
        self._manager.tell_of_self()
        return self._manager.own_node.version

    def admit(self, request: Assign, owner: str, decide: Callable[[Workload | str], None]) -> None:
        """In a task of its own: what the request names may have to be looked up."""
        self._manager.spawn(self._admit, request, owner, decide)

    async def _admit(
        self, request: Assign, owner: str, decide: Callable[[Workload | str], None]
    ) -> None:
        try:
            spec = WorkloadSpec.model_validate(request.spec)
            workload = await admit(spec, self._manager.executors, workload_id=request.id)
            if spec.on_node_loss == "reschedule" and not isinstance(
                workload.executor, EnforcesLease
            ):
                raise ConflictError(f"type: {spec.type} cannot be ended by a lease here")
        except ValidationError as error:
            decide(field_error(error).message)
        except CnetError as error:
            decide(error.message)
        else:
            workload.change(
                owner=owner,
                assignment=request.k,
                generation=request.generation,
                attempt=request.attempt,
                created_at=request.created_at,
            )
            decide(workload)

    def accept(self, job: Workload) -> None:
        """Into the books and the journal."""
        self._manager.take_in(job)

    def wish(self, job: Workload, desired: str, then: Callable[[], None]) -> None:
        """As a user here would; a wish that the state does not allow any more is void."""
        self._manager.spawn(self._wish, job, desired, then)

    async def _wish(self, job: Workload, desired: str, then: Callable[[], None]) -> None:
        try:
            await self._manager.wish_here(job, desired)
        except CnetError as error:
            log.info("wish_void", workload_id=job.id, desired=desired, why=error.message)
        then()

    def forget(self, job: Workload) -> None:
        """Erase it."""
        self._manager.erase(job)

    def leased(self, job: Workload, until: float) -> None:
        """Start it, or let its run go on."""
        if job.run is not None:
            try:
                job.run.renew(until)
            except CnetError as error:
                log.warning("lease_not_renewed", workload_id=job.id, why=error.message)
        elif job.status.phase == Phase.STARTING and not job.driven:
            self._manager.drive(job)

    def preempt(self, job: Workload) -> None:
        """Stop it and queue it again."""
        self._manager.spawn(self._manager.preempt, job)


def _record(workload: Workload) -> Record:
    return Record(workload.id, workload.spec, workload.status)


def _safely(call: Callable[[], None]) -> None:
    """A fault in one reaction must not keep others from theirs."""
    try:
        call()
    except Exception:
        log.exception("reaction_failed")
