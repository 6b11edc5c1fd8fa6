"""Commands that users run inside workloads of this node."""

from __future__ import annotations

from collections import Counter

from cnet.errors import ConflictError, TransientError, TransitionError
from cnet.executors.execs import Console, ExecRequest, Execs
from cnet.manager.workloads import Workload
from cnet.model.lifecycle import Phase, wire_status

MAX_AT_ONCE = 64
"""In one workload."""


class ExecSessions:
    """Lets so many at a time into each workload that runs."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._counts: Counter[str] = Counter()

    async def run(self, workload: Workload, request: ExecRequest, console: Console) -> int:
        """See `Execs.exec`. Raises TransitionError when nothing runs, ConflictError, TransientError
        when too many are at it."""
        executor = workload.executor
        if workload.run is None and workload.status.phase == Phase.RUNNING:
            raise TransientError(f"workload {workload.id} is about to be taken up again")
        if workload.run is None:
            status = wire_status(workload.status.phase)
            raise TransitionError(f"workload {workload.id} is {status}: nothing of it runs here")
        if not isinstance(executor, Execs):
            raise ConflictError(
                f"type: no command can be run inside a workload of type {workload.spec.type!r}"
            )
        if self._counts[workload.id] >= MAX_AT_ONCE:
            raise TransientError(
                f"{MAX_AT_ONCE} commands run inside workload {workload.id}: end one of them",
                code="overloaded",
            )
        self._counts[workload.id] += 1
        try:
            return await executor.exec(workload.task(self._node_id), request, console)
        finally:
            self._counts[workload.id] -= 1
            if not self._counts[workload.id]:
                del self._counts[workload.id]
