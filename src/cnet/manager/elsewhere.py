"""Users' wishes for workloads that were given to other nodes."""

from __future__ import annotations

from typing import Any

from cnet.delegation import Coordinator
from cnet.manager.state import State
from cnet.manager.workloads import Workload
from cnet.model.lifecycle import Phase


class Elsewhere:
    """Makes a wish durable, then passes it on to the node that has the workload."""

    def __init__(self, state: State, coordinator: Coordinator[Workload]) -> None:
        self._state = state
        self._coordinator = coordinator

    async def wish(self, workload: Workload, desired: str) -> None:
        """Durable on return; nothing to do when the same, or its deletion, was wished before."""
        status = workload.status
        if status.desired == "deleted" or (status.desired == desired != "running"):
            return
        changes: dict[str, Any] = {}
        if not status.is_terminal:
            changes = {"phase": Phase.STOPPING, "reason": "stopping", "detail": None}
        elif desired == "running":
            changes = {"phase": Phase.PENDING, "reason": "restarting", "detail": None}
        if status.host is not None and not self._coordinator.reachable(status.host):
            changes["reason"] = "node_unreachable"
            changes["detail"] = f"{status.host} cannot be reached; it is told when it can"
        generation = status.generation + 1
        await self._state.commit(workload, desired=desired, generation=generation, **changes)
        self._coordinator.tell(workload)
