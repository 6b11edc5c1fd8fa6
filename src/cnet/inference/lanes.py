"""Worker threads beside the event loop, and the bounded line in front of them.

A request alone may keep all CPUs busy; of several under way each gets its share, down to one CPU.
That way a lone client has the shortest answer and many clients the highest throughput: threads
inside one convolution scale worse than whole requests beside each other.

Works of one group that wait at the same time are done in one call. Nobody is made to wait for
company: those that come in one turn of the event loop go together, and so do those that found all
lanes taken.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter, thread_time
from typing import Any, Protocol

import anyio

from cnet.errors import DeadlineError, TransientError
from cnet.inference.admission import Admission
from cnet.inference.metrics import Metrics

_IDLE_S = 2.0
_UNWATCHED_S = 0.005  # so long nobody looks whether the client is still there
_TIMED_EVERY = 8  # calls in the event loop
_FULL = "requests are already waiting; ask again in a second"


class ClientGoneError(Exception):
    """The client hung up before its work began; there is nobody to answer."""


class Group(Protocol):
    """How works that belong together are done. Both methods are called in the event loop."""

    most_rows: int
    """in one call; a work that has more goes alone"""

    def is_quick(self, rows: int) -> bool:
        """Whether a call with so many rows may be made in the event loop."""
        ...

    def took(self, seconds: float) -> None:
        """How much CPU time a call in the event loop took."""
        ...


@dataclass(slots=True, kw_only=True)
class Work:
    """Something to be done for one request.

    `do(payloads, cpus)` answers or raises for each payload in order; it is called once for all
    works of the same `key` that go together, the key None going with no other.
    """

    do: Callable[[Sequence[Any], int], Sequence[Any]]
    payload: Any = None
    key: Hashable | None = None
    rows: int = 1
    group: Group | None = None


def alone(call: Callable[[int], Any]) -> Work:
    """A work that goes with no other: `call(cpus)`."""

    def do(_payloads: Sequence[Any], cpus: int) -> Sequence[Any]:
        try:
            return [call(cpus)]
        except Exception as error:  # noqa: BLE001  raised anew where it is waited for
            return [error]

    return Work(do=do)


@dataclass(slots=True, eq=False)
class _Job:
    work: Work
    outcome: asyncio.Future[Any]
    arrived: float = field(default_factory=perf_counter)
    has_begun: bool = False


class Lanes:
    """At most `threads` calls at a time, and a line of works behind them, in order.

    At most `max_waiting` wait (`admission` says when fewer). `on_idle` is called in a worker
    thread when nothing has run for two seconds. Belongs to one event loop; no method may be called
    from another thread.
    """

    def __init__(
        self,
        threads: int,
        *,
        max_waiting: int,
        most_together: int = 1,
        on_idle: Callable[[], None] | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._on_idle = on_idle
        self._idle_timer: asyncio.TimerHandle | None = None
        self._threads = threads
        self._admission = Admission(longest=max_waiting, short=threads * most_together)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self._line: deque[_Job] = deque()
        self._running = 0
        self._here = 0
        self._is_woken = False
        self._metrics = metrics or Metrics()

    def check_room(self) -> None:
        """Raise TransientError (`overloaded`) where `run` would."""
        now = perf_counter()
        limit = self._admission.limit(now)
        if len(self._line) < limit + max(0, self._threads - self._running):
            return
        self._admission.refused(now)
        self._shorten(self._admission.limit(now))
        raise TransientError(f"{len(self._line)} {_FULL}", code="overloaded")

    async def run(
        self,
        work: Work,
        *,
        gone: Callable[[], Awaitable[None]],
        deadline: float | None = None,
    ) -> Any:
        """What `work` comes to.

        `gone` returns when the client has hung up; it is watched only while the work waits in
        line. Raises TransientError (`overloaded`) when the line is full, ClientGoneError when the
        client left it, and DeadlineError at `deadline` (time of the event loop). A work that has
        begun goes on unheard when it is cancelled or too late; its lane is taken until it ends.
        """
        self.check_room()
        loop = asyncio.get_running_loop()
        job = _Job(work, loop.create_future())
        self._line.append(job)
        timer = None if deadline is None else loop.call_at(deadline, _expire, job)
        if work.key is None:
            self._dispatch()
        else:
            self._wake(loop)
        try:
            return await self._outcome(job, gone)
        finally:
            if timer is not None:
                timer.cancel()
            if not job.has_begun and job in self._line:
                self._line.remove(job)
            job.outcome.cancel()
            self._tell()

    def close(self) -> bool:
        """Take no more work; whether none is under way. What is goes on."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)
        return self._running == 0

    @staticmethod
    async def _outcome(job: _Job, gone: Callable[[], Awaitable[None]]) -> Any:
        """Wait for it; while the job is in line, for the client hanging up as well."""
        await asyncio.sleep(0)  # most are done in this turn of the event loop
        if not job.has_begun:
            await asyncio.wait((job.outcome,), timeout=_UNWATCHED_S)
        if job.has_begun or job.outcome.done():
            return await job.outcome
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                await gone()
                if not job.has_begun:
                    group.cancel_scope.cancel()

            group.start_soon(watch, name="watch for the client hanging up")
            await asyncio.wait((job.outcome,))
            group.cancel_scope.cancel()
        if not job.has_begun and not job.outcome.done():
            raise ClientGoneError
        return await job.outcome

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at the line when all that came in this turn of the loop stands in it."""
        if not self._is_woken:
            self._is_woken = True
            loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._is_woken = False
        while self._line and self._running < self._threads:
            jobs = self._take()
            if jobs:
                self._begin(jobs)
        self._tell()

    def _take(self) -> list[_Job]:
        """The first in line, and those behind it that can go with it."""
        first = self._line.popleft()
        if first.outcome.done():
            return []
        work, jobs = first.work, [first]
        if work.key is None or work.group is None:
            return jobs
        rows, passed = work.rows, []
        while self._line and rows < work.group.most_rows:
            job = self._line.popleft()
            if job.outcome.done():
                continue
            if job.work.key == work.key and rows + job.work.rows <= work.group.most_rows:
                jobs.append(job)
                rows += job.work.rows
            else:
                passed.append(job)
        self._line.extendleft(reversed(passed))
        return jobs

    def _begin(self, jobs: list[_Job]) -> None:
        now, work = perf_counter(), jobs[0].work
        rows = sum(job.work.rows for job in jobs)
        for job in jobs:
            job.has_begun = True
            self._metrics.wait.observe(now - job.arrived)
        if work.group is not None:
            self._metrics.batch_requests.observe(len(jobs))
            self._metrics.batch_rows.observe(rows)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._running += 1
        cpus = max(1, self._threads // (self._running + len(self._line)))
        payloads = [job.work.payload for job in jobs]
        if work.group is not None and work.group.is_quick(rows):
            self._run_here(jobs, payloads, cpus, work.group)
            return
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._pool, work.do, payloads, cpus)
        running.add_done_callback(lambda done: self._end(jobs, done, now))

    def _run_here(
        self, jobs: Sequence[_Job], payloads: Sequence[Any], cpus: int, group: Group
    ) -> None:
        self._here += 1
        is_timed = self._here % _TIMED_EVERY == 1  # reading this clock is a system call
        started, used = perf_counter(), thread_time() if is_timed else 0.0
        done: asyncio.Future[Sequence[Any]] = asyncio.get_running_loop().create_future()
        try:
            done.set_result(jobs[0].work.do(payloads, cpus))
        except Exception as error:  # noqa: BLE001  raised anew where it is waited for
            done.set_exception(error)
        if is_timed:
            group.took(thread_time() - used)
        self._end(jobs, done, started)

    def _end(
        self, jobs: Sequence[_Job], done: asyncio.Future[Sequence[Any]], started: float
    ) -> None:
        self._metrics.run.observe(perf_counter() - started)
        error = None if done.cancelled() else done.exception()
        answers = [error] * len(jobs) if error or done.cancelled() else done.result()
        for job, answer in zip(jobs, answers, strict=True):
            if job.outcome.done():
                continue
            if isinstance(answer, BaseException):
                job.outcome.set_exception(answer)
            else:
                job.outcome.set_result(answer)
        self._leave()

    def _leave(self) -> None:
        self._running -= 1
        loop = asyncio.get_running_loop()
        if self._line:
            self._wake(loop)
        elif self._running == 0 and self._on_idle is not None:
            self._idle_timer = loop.call_later(_IDLE_S, self._pool.submit, self._on_idle)
        self._tell()

    def _shorten(self, limit: int) -> None:
        """Refuse the newest of a line that has become too long."""
        while len(self._line) > limit:
            job = self._line.pop()
            if not job.outcome.done():
                job.outcome.set_exception(TransientError(f"{limit} {_FULL}", code="overloaded"))

    def _tell(self) -> None:
        self._metrics.waiting, self._metrics.running = len(self._line), self._running


def _expire(job: _Job) -> None:
    if not job.outcome.done():
        where = "while the model worked on it" if job.has_begun else "in line"
        job.outcome.set_exception(DeadlineError(f"the time given to the request ran out {where}"))
