"""Room and a port on this node for a workload's next attempt."""

from __future__ import annotations

from cnet.errors import CapacityError, ConflictError, PortTakenError, SpecError
from cnet.executors.reservation import KIND as RESERVATION
from cnet.manager.book import Book
from cnet.manager.endpoints import endpoint_changes, require_ports
from cnet.manager.state import State
from cnet.manager.stopping import Stopping
from cnet.manager.tasks import Tasks
from cnet.manager.workloads import Workload
from cnet.model.workload import WorkloadSpec

_FRESH: dict[str, object] = {
    "reason": "starting",
    "detail": None,
    "pid": None,
    "names": {},
    "exit_code": None,
    "exit_signal": None,
    "log_tail": (),
    "started_at": None,
    "ended_at": None,
}


class Reserving:
    """Takes room for workloads, from the reservation where they claim one."""

    def __init__(
        self, node_id: str, state: State, book: Book, tasks: Tasks, stopping: Stopping
    ) -> None:
        self._node_id = node_id
        self._state = state
        self._book = book
        self._tasks = tasks
        self._stopping = stopping

    def take(self, workload: Workload) -> dict[str, object]:
        """The status changes of a new attempt, for which room and port are held then.

        Raises CapacityError or PortTakenError, in which case neither is held.
        """
        ledger = self._state.ledger
        held = self._reservation_here(workload.spec)
        if held is not None:
            ledger.release(held.id)
        try:
            allocation = ledger.reserve(workload.id, workload.wanted)
            endpoint = endpoint_changes(workload, self._state, self._node_id)
        except (CapacityError, PortTakenError):
            ledger.release(workload.id)
            if held is not None:
                ledger.adopt(held.id, held.wanted, held.status.gpu_devices)
            raise
        if held is not None:
            self._tasks.spawn(self._claimed, held)
        return {
            **_FRESH,
            **endpoint,
            "attempt": workload.status.attempt + 1,
            "gpu_devices": allocation.gpu_devices,
        }

    def release(self, workload: Workload) -> None:
        """What was taken for an attempt that is not made; harmless when nothing was."""
        self._state.ledger.release(workload.id)
        self._state.ports.release(workload.id)

    def require_port(self, workload: Workload) -> None:
        """Raises PortTakenError when a port that it must have is taken."""
        require_ports(workload, self._state)

    def require_reservation(self, spec: WorkloadSpec) -> None:
        """Raises SpecError or ConflictError when there is none to claim, though it names one."""
        if spec.reservation is None:
            return
        held = self._book.find(str(spec.reservation))
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

    def _reservation_here(self, spec: WorkloadSpec) -> Workload | None:
        """The reservation that a workload claims, if it still holds room on this node."""
        if spec.reservation is None:
            return None
        held = self._book.find(str(spec.reservation))
        if held is None or not held.status.holds_room:
            return None
        return held if self._state.ledger.allocation(held.id) is not None else None

    async def _claimed(self, held: Workload) -> None:
        await self._stopping.ask(held, desired="stopped", reason="claimed")
