"""The event stream: numbered, kept for a while, the same for the UI, `cnet events` and waiters."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import anyio
import anyio.to_thread

from cnet._support import clock
from cnet.manager.journal import EVENTS_KEPT, Journal
from cnet.manager.workloads import Workload
from cnet.model.events import AgentEvent
from cnet.model.lifecycle import wire_status

IN_MEMORY = 2_000
"""Events that subscribers get without touching the disk."""
BATCH = 500
MAX_UNWRITTEN = 1_000
"""Events published and not yet on the disk, at the most; numbers jump by as many over a restart."""


class EventBus:
    """Numbers events and wakes whoever listens. Writing them down is the manager's part."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        # What an agent told its listeners just before it was killed may never have been written.
        # Its numbers must not be given to other events: who goes on behind them would miss those.
        self._seq = journal.last_event_seq() + MAX_UNWRITTEN
        self._recent: deque[AgentEvent] = deque(maxlen=IN_MEMORY)
        self._news = anyio.Event()
        self.listeners: list[Callable[[AgentEvent], None]] = []
        """called with every event, before what it tells of is on the disk"""

    @property
    def last_seq(self) -> int:
        """Number of the newest event."""
        return self._seq

    def workload_changed(self, workload: Workload, *, deleted: bool = False) -> AgentEvent:
        """Make, number and publish the event of a workload's new status."""
        status = workload.status
        self._seq += 1
        event = AgentEvent(
            seq=self._seq,
            time=clock.now(),
            event="workload",
            workload_id=workload.id,
            data={
                "name": workload.spec.name,
                "type": workload.spec.type,
                "status": "deleted" if deleted else wire_status(status.phase),
                "status_reason": status.reason,
                "status_detail": status.detail,
            },
        )
        self._recent.append(event)
        news, self._news = self._news, anyio.Event()
        news.set()
        for listener in self.listeners:
            listener(event)
        return event

    async def after(self, seen: int, *, until: anyio.Event) -> list[AgentEvent]:
        """The next events with a number above `seen`; waits for one. Empty once `until` is set.

        Nothing is skipped as long as the journal still has it (the last 10,000). May be cancelled
        at any time.
        """
        seen = min(max(seen, self._seq - EVENTS_KEPT), self._seq)
        while not until.is_set():
            news = self._news
            if batch := await self._batch(seen):
                return batch
            await self._news_or(news, until)
        return []

    async def latest(
        self, limit: int, *, workload_id: str | None = None, before: int | None = None
    ) -> list[AgentEvent]:
        """Events that the journal still has, newest first; of one workload, or below a number."""
        end = self._seq + 1 if before is None else before
        found = [
            event
            for event in reversed(self._recent)
            if event.seq < end and workload_id in (None, event.workload_id)
        ][:limit]
        if len(found) < limit:
            oldest = min(end, self._recent[0].seq) if self._recent else end
            found += await anyio.to_thread.run_sync(
                self._journal.events_before, oldest, limit - len(found), workload_id
            )
        return found

    @staticmethod
    async def _news_or(news: anyio.Event, until: anyio.Event) -> None:
        async def watch(event: anyio.Event) -> None:
            await event.wait()
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(watch, news)
            group.start_soon(watch, until)

    async def _batch(self, seen: int) -> list[AgentEvent]:
        if seen >= self._seq:
            return []
        if self._recent and self._recent[0].seq <= seen + 1:
            return [event for event in self._recent if event.seq > seen][:BATCH]
        oldest = self._recent[0].seq if self._recent else None
        batch = await anyio.to_thread.run_sync(self._journal.events_after, seen, BATCH)
        if not batch and oldest is not None:  # a gap: go on with what is left
            return [event for event in self._recent if event.seq > seen][:BATCH]
        return batch
