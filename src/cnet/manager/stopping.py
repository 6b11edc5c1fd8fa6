"""The way of a workload on this node to its end, whatever phase it is in."""

from __future__ import annotations

from cnet._support import clock
from cnet.delegation import Coordinator
from cnet.manager.driving import Driving
from cnet.manager.engines import stopping_reason
from cnet.manager.forgetting import Forgetting
from cnet.manager.state import State
from cnet.manager.workloads import Workload
from cnet.model.lifecycle import Event, Phase


class Stopping:
    """Asks for ends; what drives the workload brings them about."""

    def __init__(
        self,
        state: State,
        coordinator: Coordinator[Workload],
        driving: Driving,
        forgetting: Forgetting,
    ) -> None:
        self._state = state
        self._coordinator = coordinator
        self._driving = driving
        self._forgetting = forgetting

    async def ask(self, workload: Workload, *, desired: str, reason: str = "stopping") -> None:
        """Step towards the end; durable on return, then the driver is told.

        Raises ConflictError when nothing here could end its run.
        """
        if workload.status.desired == "deleted":
            desired = "deleted"
        phase = workload.status.phase
        if workload.status.holds_room:
            workload.require_executor()
        if phase in {Phase.PENDING, Phase.BACKOFF}:
            self._coordinator.discard(workload)
            await self._commit_and_tell(
                workload,
                desired=desired,
                reason="stopped_by_user",
                detail=None,
                ended_at=clock.now(),
            )
            if phase == Phase.PENDING:  # there is no driver that would
                self._forgetting.note_end(workload)
        elif phase in {Phase.STARTING, Phase.RUNNING}:
            reason, detail = stopping_reason(workload, reason)
            await self._commit_and_tell(workload, desired=desired, reason=reason, detail=detail)
            if not workload.driven and workload.status.phase == Phase.STOPPING:
                self._driving.drive(workload, recorded=True)  # it was waiting for its first lease
        elif workload.status.desired != desired:
            await self._state.commit(workload, desired=desired)

    async def _commit_and_tell(self, workload: Workload, **changes: object) -> None:
        told = workload.stop_asked
        try:
            await self._state.commit(workload, Event.STOP_ASKED, **changes)
        finally:
            told.set()
