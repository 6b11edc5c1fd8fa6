"""From a submit to a workload that is durable, and started or given away where there is room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from cnet.delegation import Coordinator
from cnet.errors import (
    CapacityError,
    CnetError,
    ConflictError,
    PortTakenError,
    SpecError,
    UnreachableError,
)
from cnet.executors.base import Executor, FetchesInputs, NeedsEngine
from cnet.manager.admission import NotHereError, admit, parsed, unprepared
from cnet.manager.book import Book
from cnet.manager.driving import Driving
from cnet.manager.endpoints import wanted_ports
from cnet.manager.engines import REASON as ENGINE_AWAY
from cnet.manager.journal import Record
from cnet.manager.reserving import Reserving
from cnet.manager.results import enter_done
from cnet.manager.self_report import SelfReport
from cnet.manager.state import State
from cnet.manager.workloads import Workload
from cnet.model.lifecycle import Event
from cnet.model.workload import WorkloadSpec

MOST_REASONS = 64
"""Nodes of which an answer tells why they do not do."""


class Acceptance:
    """Takes in what users submit; what it refuses leaves no trace."""

    def __init__(
        self,
        node_id: str,
        executors: Mapping[str, Executor],
        *,
        book: Book,
        state: State,
        report: SelfReport,
        coordinator: Coordinator[Workload],
        reserving: Reserving,
        driving: Driving,
    ) -> None:
        self._node_id = node_id
        self._executors = executors
        self._book = book
        self._state = state
        self._report = report
        self._coordinator = coordinator
        self._reserving = reserving
        self._driving = driving

    async def submit(self, spec: WorkloadSpec) -> tuple[Workload, bool]:
        """See `Manager.submit`."""
        if spec.id is not None and (known := self._book.find(str(spec.id))) is not None:
            await known.until_accepted()
            known.require_staying()
            if known.spec != spec:
                raise ConflictError(f"id: {spec.id} belongs to another workload")
            return known, False
        workload, not_here = await self._admit(spec)
        if isinstance(workload.executor, FetchesInputs):
            await workload.executor.require_inputs(spec, workload.config)
        if self._book.find(workload.id) is not None:  # submitted twice at the same moment
            return await self.submit(spec)
        # Whoever asks may go away; what was begun is finished, or there would be a record in the
        # journal that nobody here knows of.
        with anyio.CancelScope(shield=True):
            await self._accept(workload, not_here)
        return workload, True

    async def check_replica(self, spec: WorkloadSpec) -> None:
        """See `Manager.check_replica`."""
        workload, not_here = await self._admit(spec)
        if isinstance(workload.executor, FetchesInputs):
            await workload.executor.require_inputs(spec, workload.config)
        if workload.executor is not None:
            ports = wanted_ports(workload)
            if not ports:
                raise SpecError(f"type: {spec.type} as configured answers no HTTP", field="type")
            for each in ports:
                if each.port:
                    raise SpecError(
                        f"config: port {each.port} is asked for; replicas stand beside each "
                        "other, so that each needs a free one (0)",
                        field="config",
                    )
        self._report.tell()
        if isinstance(not_here, SpecError) and self._coordinator.may_hold(spec) <= {self._node_id}:
            raise not_here
        plan = self._coordinator.plan(spec)
        if plan.impossible:
            raise _impossible(plan.reasons(MOST_REASONS))

    async def enter_done(
        self, spec: WorkloadSpec, *, workload_id: str, result: Mapping[str, Any]
    ) -> Workload:
        """See `Manager.enter_done`."""
        workload = parsed(spec, self._executors, workload_id=workload_id)
        enter_done(workload, result)
        self._book.add(workload)
        try:
            with anyio.CancelScope(shield=True):
                record = Record(workload.id, workload.spec, workload.status)
                await self._state.journal.accept(record)
        except BaseException:
            self._book.drop(workload)
            workload.refuse()
            raise
        workload.accept()
        self._state.journal.post_events([self._state.events.workload_changed(workload)])
        return workload

    async def _admit(self, spec: WorkloadSpec) -> tuple[Workload, CnetError | None]:
        """The workload, and what keeps it from this very node. Raises SpecError, ConflictError."""
        self._reserving.require_reservation(spec)
        if spec.type not in self._executors and self._others_run(spec.type):
            return unprepared(spec), ConflictError(f"type: no executor for {spec.type} here")
        executor = self._executors.get(spec.type)
        try:
            if isinstance(executor, NeedsEngine) and executor.absence is not None:
                raise UnreachableError(executor.absence)
            return await admit(spec, self._executors), None
        except UnreachableError as error:
            away = UnreachableError(f"type: {error.message}", code=ENGINE_AWAY)
            if not self._others_run(spec.type):
                raise away from error
            return parsed(spec, self._executors), away
        except NotHereError as error:
            if len(self._coordinator.index) <= 1:
                raise
            return parsed(spec, self._executors), error

    def _others_run(self, kind: str) -> bool:
        return any(
            kind in node.state.kinds
            for node_id, node in self._coordinator.known.items()
            if node_id != self._node_id
        )

    async def _accept(self, workload: Workload, not_here: CnetError | None) -> None:
        self._book.add(workload)
        # Not for an engine that is away: until it is back the node has no such kind.
        if not_here is not None and not isinstance(not_here, UnreachableError):
            self._coordinator.owner.refused(workload, self._node_id, not_here.message)
        try:
            self._place(workload, not_here)
            record = Record(workload.id, workload.spec, workload.status)
            await self._state.journal.accept(record)
        except BaseException:
            self._book.drop(workload)
            self._reserving.release(workload)
            workload.refuse()
            self._coordinator.forgotten(workload)
            self._report.discount(workload)
            raise
        workload.accept()
        self._state.journal.post_events([self._state.events.workload_changed(workload)])
        if workload.status.holds_room:
            self._driving.drive(workload, recorded=True)
        elif workload.status.host is not None:
            self._coordinator.assigned(workload)
        else:
            self._coordinator.place(workload)  # room may have come while the disk was written

    def _place(self, workload: Workload, not_here: CnetError | None) -> None:
        self._report.tell()
        node_id = self._coordinator.choose(workload)
        if node_id == self._node_id:
            try:
                self._reserving.require_port(workload)
            except PortTakenError as error:
                not_here = error
                self._coordinator.owner.refused(workload, self._node_id, error.message)
                node_id = self._coordinator.choose(workload)
        if node_id == self._node_id:
            workload.step(Event.PLACED, **self._reserving.take(workload))
            self._report.count(workload, None)
        elif node_id is not None:
            workload.change(**self._coordinator.assign(workload, node_id))
        elif isinstance(not_here, SpecError | PortTakenError):
            raise not_here
        else:
            self._let_wait(workload)

    def _let_wait(self, workload: Workload) -> None:
        plan = self._coordinator.plan(workload.spec, workload)
        reasons = plan.reasons(MOST_REASONS)
        if plan.impossible:
            raise _impossible(reasons)
        if not workload.spec.queue:
            raise CapacityError("requirements: no room now: " + "; ".join(reasons), reasons=reasons)
        self._reserving.require_port(workload)
        workload.change(reason="no_capacity", detail="; ".join(reasons))


def _impossible(reasons: Sequence[str]) -> CapacityError:
    return CapacityError(
        "requirements: no node could ever hold this: " + "; ".join(reasons), reasons=reasons
    )
