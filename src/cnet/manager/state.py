"""The one door to a workload's state: memory, ledger, journal and event stream change together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import structlog

from cnet.errors import StorageFullError
from cnet.manager.events import EventBus
from cnet.manager.journal import Journal
from cnet.manager.workloads import Workload
from cnet.model.events import AgentEvent
from cnet.model.lifecycle import Effect, Event
from cnet.model.workload import WorkloadStatus
from cnet.register import Ledger, PortBook

log = structlog.get_logger(__name__)

FULL_DISK_PAUSE_S = 1.0


class State:
    """Steps workloads through the lifecycle table and keeps the books true to it."""

    def __init__(self, journal: Journal, ledger: Ledger, ports: PortBook, events: EventBus) -> None:
        self.journal = journal
        self.ledger = ledger
        self.ports = ports
        self.events = events
        self.on_change: Callable[[Workload, WorkloadStatus], None] = lambda *_: None
        """Called with the former status. What follows from a change must wait for the next turn
        of the event loop: by then the change has its place in the journal."""

    def post(self, workload: Workload, event: Event | None = None, **changes: Any) -> None:
        """Change the status; it is recorded soon, in order.

        For what a restart of the agent finds out again, such as an end with its exit record.
        """
        published = self._apply(workload, event, changes)
        self.journal.post_update(workload.id, workload.status, [published])

    async def commit(self, workload: Workload, event: Event | None = None, **changes: Any) -> None:
        """Change the status at once; durable on return. Raises StorageFullError."""
        published = self._apply(workload, event, changes)
        await self.journal.update(workload.id, workload.status, [published])

    def _apply(
        self, workload: Workload, event: Event | None, changes: dict[str, Any]
    ) -> AgentEvent:
        before = workload.status
        effects: tuple[Effect, ...] = ()
        if event is None:
            workload.change(**changes)
        else:
            effects = workload.step(event, **changes)
        if Effect.RELEASE in effects:
            self.ledger.release(workload.id)
            self.ports.release(workload.id)
        self.on_change(workload, before)
        return self.events.workload_changed(workload)


async def until_written(write: Callable[[], Awaitable[None]]) -> None:
    """Write, again and again while the disk is full: what follows must not come first."""
    while True:
        try:
            return await write()
        except StorageFullError as error:
            log.warning("waiting_for_disk", why=error.message)
            await anyio.sleep(FULL_DISK_PAUSE_S)
