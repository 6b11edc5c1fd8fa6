"""What users want done with workloads that were accepted: stop, restart, delete."""

from __future__ import annotations

import anyio

from cnet.errors import TransitionError
from cnet.manager.driving import Driving
from cnet.manager.elsewhere import Elsewhere
from cnet.manager.forgetting import Forgetting
from cnet.manager.results import Results
from cnet.manager.state import State
from cnet.manager.stopping import Stopping
from cnet.manager.workloads import Workload
from cnet.model.lifecycle import TERMINAL, Event, Phase


class Wishes:
    """Each is durable when its method returns; that it has come about is not awaited.

    Whoever asks may go away meanwhile: what was begun is finished.
    """

    def __init__(
        self,
        state: State,
        driving: Driving,
        stopping: Stopping,
        forgetting: Forgetting,
        elsewhere: Elsewhere,
        results: Results,
    ) -> None:
        self._state = state
        self._driving = driving
        self._stopping = stopping
        self._forgetting = forgetting
        self._elsewhere = elsewhere
        self._results = results

    async def stop(self, workload: Workload) -> None:
        """Harmless when it is stopped or being stopped; an ended one is relieved of its result.

        TransitionError when it ended by itself and has left none.
        """
        phase = workload.status.phase
        if phase in TERMINAL and phase != Phase.STOPPED and not workload.status.result:
            raise TransitionError(f"workload {workload.id} is {phase} and cannot be stopped")
        with anyio.CancelScope(shield=True):
            if workload.status.host is not None:
                await self._elsewhere.wish(workload, "stopped")
            else:
                await self._stopping.ask(workload, desired="stopped")
                await self._results.discard(workload)

    async def restart(self, workload: Workload) -> None:
        """Raises TransitionError when it is being deleted, ConflictError without an executor."""
        workload.require_staying()
        if workload.status.host is None:
            workload.require_executor()
        with anyio.CancelScope(shield=True):
            if workload.status.host is not None:
                await self._elsewhere.wish(workload, "running")
            elif workload.status.phase != Phase.PENDING:
                await self._restart_here(workload)

    async def _restart_here(self, workload: Workload) -> None:
        if workload.status.phase == Phase.BACKOFF:
            await self._stopping.ask(workload, desired="running")
            workload.require_staying()  # a delete may have come while the disk was written
        if workload.status.phase in TERMINAL:
            self._state.post(
                workload,
                Event.RESTART_ASKED,
                desired="running",
                reason="placing",
                restarted_at=(),
            )
            self._driving.requeue(workload)
            await self._state.journal.update(workload.id, workload.status)
        else:
            await self._stopping.ask(workload, desired="running")

    async def delete(self, workload: Workload) -> None:
        """Stop it if need be and forget it; `workload.forgotten` tells when."""
        with anyio.CancelScope(shield=True):
            if workload.status.host is not None:
                await self._elsewhere.wish(workload, "deleted")
            else:
                await self._stopping.ask(workload, desired="deleted")
                if workload.status.is_terminal:
                    self._forgetting.forget(workload)
