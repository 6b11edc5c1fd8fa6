"""Workloads whose ended runs have left something behind that stays: data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnet._support import clock
from cnet.executors.base import LeavesResult
from cnet.manager.forgetting import Forgetting
from cnet.manager.state import State
from cnet.manager.workloads import Workload
from cnet.model.lifecycle import Event


def enter_done(workload: Workload, result: Mapping[str, Any]) -> None:
    """Take a new workload through its life at once: what it stands for is there."""
    now = clock.now()
    workload.step(Event.PLACED, reason=None, attempt=1, started_at=workload.status.created_at)
    workload.step(Event.EXITED_WELL, reason=None, ended_at=now, result=dict(result))


class Results:
    """Deletes what ended workloads have left."""

    def __init__(self, state: State, forgetting: Forgetting) -> None:
        self._state = state
        self._forgetting = forgetting

    async def discard(self, workload: Workload) -> None:
        """Durable on return, harmless when there is nothing. Raises StorageFullError.

        The wish is in the journal by now: cut off in here, the agent comes back to it.
        """
        if not (workload.status.is_terminal and workload.status.result):
            return
        if isinstance(workload.executor, LeavesResult):
            await workload.executor.discard(workload.id)
        await self._state.commit(
            workload,
            result={},
            reason="result_deleted",
            detail="it was stopped after its end: what it had left is deleted",
        )
        self._forgetting.note_end(workload)
