"""The thread that changes the catalogue: what waits while a commit is synced shares the next one.

Several processes write the same file. Each has one such thread; SQLite's write lock puts the
threads in order. A change judges and writes in one transaction, and fails alone.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import anyio
import structlog

from cnet._support.groups import next_group
from cnet.errors import CnetError, StorageFullError, TransientError
from cnet.storage.ballast import Ballast

log = structlog.get_logger(__name__)

T = TypeVar("T")
Apply = Callable[[sqlite3.Connection], T]

MAX_GROUP: Final = 512
"""Changes that may share one commit."""
FULL: Final = "the disk that holds the stored data is full; nothing was stored"


@dataclass(slots=True)
class _Change:
    apply: Apply[object]
    future: asyncio.Future[object] | None
    needs_room: bool
    committed: Callable[[], None] | None = None


@dataclass(slots=True)
class _Outcome:
    change: _Change
    result: object = None
    error: Exception | None = None


class Writer:
    """Takes changes from the event loop's thread, in order; `close` commits what waits."""

    def __init__(self, connection: sqlite3.Connection, ballast: Ballast) -> None:
        self._connection = connection
        self._ballast = ballast
        self._queue: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="catalogue", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    async def apply(
        self,
        apply: Apply[T],
        *,
        needs_room: bool = False,
        committed: Callable[[], None] | None = None,
    ) -> T:
        """What `apply` returns, once it is durable; what it raises, with nothing changed.

        With `needs_room` StorageFullError while the disk is full. It is always waited for until it
        is decided, also by a task that is cancelled. `committed` is called, in the thread, as soon
        as the change is durable, and also when an I/O error leaves open whether it will be.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(_Change(apply, future, needs_room, committed))  # type: ignore[arg-type]
        with anyio.CancelScope(shield=True):
            await _decided(future)
        return future.result()

    def post(self, apply: Apply[object]) -> None:
        """Change something soon that may as well not happen."""
        self._queue.put(_Change(apply, None, needs_room=False))

    def close(self) -> None:
        """Blocks until what waits is committed."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        closing = False
        while not closing:
            group, closing = next_group(self._queue, MAX_GROUP)
            if group:
                _tell(self._settle(group))

    def _settle(self, group: Sequence[_Change]) -> list[_Outcome]:
        """Commit a group; where that fails, each change by itself, so that one spoils no other."""
        try:
            self._ballast.lay()
            return self._commit(group)
        except OSError as error:
            log.exception("catalogue_unusable")
            failure = TransientError(f"the catalogue cannot be written: {error}")
            return [_Outcome(change, error=failure) for change in group]
        except sqlite3.Error as error:
            log.warning("catalogue_group_failed", error=str(error), changes=len(group))
            if self._ballast.is_full(error):
                self._ballast.give_up()
            return [self._settle_one(change) for change in group]

    def _settle_one(self, change: _Change) -> _Outcome:
        try:
            return self._commit([change])[0]
        except sqlite3.Error as error:
            log.exception("catalogue_change_lost")
            if self._ballast.is_full(error):
                return _Outcome(change, error=StorageFullError(FULL))
            if change.committed is not None:
                change.committed()  # what the change names must not go; the sweep will know
            return _Outcome(
                change, error=TransientError(f"the catalogue cannot be written: {error}")
            )

    def _commit(self, group: Sequence[_Change]) -> list[_Outcome]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [self._apply(change) for change in group]
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        for outcome in outcomes:
            if outcome.error is None and outcome.change.committed is not None:
                outcome.change.committed()
        return outcomes

    def _apply(self, change: _Change) -> _Outcome:
        if change.needs_room and self._ballast.given_up:
            return _Outcome(change, error=StorageFullError(FULL))
        connection = self._connection
        connection.execute("SAVEPOINT change")
        try:
            result = change.apply(connection)
        except sqlite3.Error:
            raise
        except Exception as error:
            connection.execute("ROLLBACK TO change")
            connection.execute("RELEASE change")
            if change.future is None and not isinstance(error, CnetError):
                log.exception("catalogue_change_failed")
            return _Outcome(change, error=error)
        connection.execute("RELEASE change")
        return _Outcome(change, result)


async def _decided(future: asyncio.Future[T]) -> None:
    """Wait until it has a result or an error; a bare `Task.cancel` is put off until then."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        future.exception()  # it has been looked at
        raise cancelled


def _tell(outcomes: Sequence[_Outcome]) -> None:
    """Wake everyone who waits, with one call into each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
    for outcome in outcomes:
        if outcome.change.future is not None:
            by_loop.setdefault(outcome.change.future.get_loop(), []).append(outcome)
    for loop, waiting in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, waiting)


def _resolve(outcomes: Sequence[_Outcome]) -> None:
    for outcome in outcomes:
        future = outcome.change.future
        if future is None or future.done():  # whoever waited was cancelled
            continue
        if outcome.error is None:
            future.set_result(outcome.result)
        else:
            future.set_exception(outcome.error)
