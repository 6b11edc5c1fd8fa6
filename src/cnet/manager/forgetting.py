"""What becomes of ended workloads: some are kept to be looked at, the others are forgotten."""

from __future__ import annotations

from functools import partial

import structlog

from cnet.delegation import Coordinator
from cnet.manager.book import Book
from cnet.manager.elsewhere import Elsewhere
from cnet.manager.state import State, until_written
from cnet.manager.tasks import Tasks
from cnet.manager.workloads import Workload

log = structlog.get_logger(__name__)


class Forgetting:
    """Keeps the last `keep_ended` own workloads that ended; erases older and deleted ones."""

    def __init__(
        self,
        book: Book,
        state: State,
        coordinator: Coordinator[Workload],
        tasks: Tasks,
        elsewhere: Elsewhere,
        *,
        keep_ended: int,
    ) -> None:
        self._book = book
        self._state = state
        self._coordinator = coordinator
        self._tasks = tasks
        self._elsewhere = elsewhere
        self._keep_ended = keep_ended
        self._ended: dict[str, None] = {}  # ids in the order of their ends

    def note_end(self, workload: Workload) -> None:
        """A workload has ended, here or on the node that it was given to."""
        if workload.status.desired == "deleted" and workload.status.host is None:
            self.forget(workload)
            return
        if workload.status.owner is not None:
            return  # how long it is kept is its owner's affair
        if workload.status.result:
            return  # what it left is there, and it is the only handle to that
        self._ended.pop(workload.id, None)  # it may have ended, and been restarted, before
        self._ended[workload.id] = None
        while len(self._ended) > self._keep_ended:
            first = next(iter(self._ended))
            del self._ended[first]
            oldest = self._book.find(first)
            if oldest is None or not oldest.status.is_terminal or oldest.status.result:
                continue
            if oldest.status.host is not None:
                self._tasks.spawn(self._elsewhere.wish, oldest, "deleted")
            else:
                self.forget(oldest)

    def forget(self, workload: Workload) -> None:
        """Erase an ended workload and its traces, in a task of its own."""
        if not workload.being_forgotten:
            workload.being_forgotten = True
            self._tasks.spawn(self._forget, workload, name=f"forget {workload.id}")

    async def _forget(self, workload: Workload) -> None:
        if workload.executor is not None:
            try:
                await until_written(partial(workload.executor.remove, workload.id))
            except OSError:
                log.exception("remove_failed", workload_id=workload.id)  # swept at the next start
        event = self._state.events.workload_changed(workload, deleted=True)
        await until_written(lambda: self._state.journal.delete([workload.id], [event]))
        self._book.drop(workload)
        workload.forgotten.set()
        self._coordinator.forgotten(workload)
