"""The tasks that drive workloads, one for each that holds room here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from cnet.delegation import Coordinator
from cnet.delegation.world import is_leased
from cnet.manager.driver import Driver, LeaseOverError
from cnet.manager.forgetting import Forgetting
from cnet.manager.state import State, until_written
from cnet.manager.tasks import Tasks
from cnet.manager.workloads import Workload


class Driving:
    """Starts a task when a workload gets room, and sees to what follows when it ends."""

    def __init__(
        self,
        node_id: str,
        state: State,
        coordinator: Coordinator[Workload],
        tasks: Tasks,
        forgetting: Forgetting,
        until_idle: Callable[[str], Awaitable[None]],
    ) -> None:
        self._state = state
        self._coordinator = coordinator
        self._tasks = tasks
        self._forgetting = forgetting
        self._driver = Driver(state, node_id, self.requeue, self._lease_of, until_idle)

    def drive(self, workload: Workload, *, found: bool = False, recorded: bool = False) -> None:
        """`recorded`: the attempt is on the disk already; `found`: a run of it may exist."""
        workload.driven = True
        self._tasks.spawn(
            self._drive_to_end, workload, found, recorded or found, name=f"drive {workload.id}"
        )

    def requeue(self, workload: Workload) -> None:
        """It is pending again, and waits for room like a new one."""
        workload.stop_asked = anyio.Event()
        workload.driven = False
        self._coordinator.place(workload)

    async def _drive_to_end(self, workload: Workload, found: bool, recorded: bool) -> None:
        if not recorded:
            # The intent to start must be on the disk before anything is started: a run that the
            # journal does not know of would be an orphan after a crash.
            journal = self._state.journal
            await until_written(lambda: journal.update(workload.id, workload.status))
        await self._driver.drive(workload, found=found)
        status = workload.status
        if not status.is_terminal:
            return  # queued again, and perhaps driven by another task by now
        workload.driven = False
        if status.reason == "lease_expired" and status.desired == "running":
            self._coordinator.host.give_back(workload, "lease_expired", str(status.detail))
        else:
            self._forgetting.note_end(workload)

    def _lease_of(self, workload: Workload) -> float | None:
        """Until when the next run may last; None without a bound. Raises LeaseOverError."""
        if workload.status.owner is None or not is_leased(workload):
            return None
        until = self._coordinator.host.lease(workload)
        if until is None:
            raise LeaseOverError(f"its owner, {workload.status.owner}, has not renewed its lease")
        return until
