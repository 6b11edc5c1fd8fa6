"""Worker threads beside the event loop, and the bounded queue in front of them.

A request alone may keep all CPUs busy; of several under way each gets its share, down to one CPU.
That way a lone client has the shortest answer and many clients the highest throughput: threads
inside one convolution scale worse than whole requests beside each other.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import anyio

from cnet.errors import TransientError

T = TypeVar("T")

_IDLE_S = 2.0


class ClientGoneError(Exception):
    """The client hung up before its work began; there is nobody to answer."""


class Lanes:
    """At most `threads` works at a time, at most `max_waiting` more in line, in order.

    `on_idle` is called in a worker thread when nothing has run for two seconds. Belongs to one
    event loop; no method may be called from another thread.
    """

    def __init__(
        self, threads: int, *, max_waiting: int, on_idle: Callable[[], None] | None = None
    ) -> None:
        self._on_idle = on_idle
        self._idle_timer: asyncio.TimerHandle | None = None
        self._threads = threads
        self._max_waiting = max_waiting
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._running = 0
        self._under_way = 0  # also counts work whose client no longer listens
        self._counting = threading.Lock()

    async def run(self, work: Callable[[int], T], *, gone: Callable[[], Awaitable[None]]) -> T:
        """Call `work(cpus)` in a worker thread, where `cpus` is how many it may keep busy.

        `gone` returns when the client has hung up; it is watched only while the work waits in
        line. Raises TransientError (`overloaded`) when the line is full and ClientGoneError when
        the client left it. Cancelling during the work lets the work end unheard.
        """
        if self._running >= self._threads or self._waiting:
            await self._stand_in_line(gone)
        else:
            self._running += 1
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        cpus = max(1, self._threads // (self._running + len(self._waiting)))
        try:
            self._count(1)
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, self._counted, work, cpus
            )
        finally:
            self._leave()

    def close(self) -> bool:
        """Take no more work; whether none is under way. What is goes on."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._counting:
            return self._under_way == 0

    def _counted(self, work: Callable[[int], T], cpus: int) -> T:
        try:
            return work(cpus)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._counting:
            self._under_way += change

    async def _stand_in_line(self, gone: Callable[[], Awaitable[None]]) -> None:
        """Return holding a lane, which whoever left it has already counted for us."""
        if len(self._waiting) >= self._max_waiting:
            raise TransientError(
                f"{self._max_waiting} requests are already waiting; ask again in a second",
                code="overloaded",
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            left = await self._turn_or_gone(turn, gone)
        except BaseException:
            self._give_up(turn)
            raise
        if left:
            self._give_up(turn)
            raise ClientGoneError

    @staticmethod
    async def _turn_or_gone(
        turn: asyncio.Future[None], gone: Callable[[], Awaitable[None]]
    ) -> bool:
        """Wait for the turn; True if the client hung up first."""
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                await gone()
                group.cancel_scope.cancel()

            group.start_soon(watch, name="watch for the client hanging up")
            await asyncio.shield(turn)
            group.cancel_scope.cancel()
        return not turn.done()

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        """Leave the line; a lane that was handed over in the same moment goes to the next."""
        if turn.done():
            self._leave()
        else:
            self._waiting.remove(turn)
            turn.cancel()

    def _leave(self) -> None:
        """Hand the lane to the first in line, or count it free."""
        if self._waiting:
            self._waiting.popleft().set_result(None)
            return
        self._running -= 1
        if self._running == 0 and self._on_idle is not None:
            loop = asyncio.get_running_loop()
            self._idle_timer = loop.call_later(_IDLE_S, self._pool.submit, self._on_idle)
