"""The queue in front of the worker threads: shares, order, bounds, clients that hang up."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from cnet.errors import DeadlineError, TransientError
from cnet.inference.admission import Admission
from cnet.inference.lanes import ClientGoneError, Lanes, Work, alone

pytestmark = pytest.mark.anyio


async def never() -> None:
    await anyio.sleep_forever()


class Works:
    """Works that run until released, and what they were told."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self.shares: dict[str, int] = {}
        self.ended: list[str] = []
        self._release = threading.Event()
        self._begun: dict[str, threading.Event] = {}

    def body(self, name: str) -> Callable[[int], str]:
        begun = self._begun.setdefault(name, threading.Event())

        def work(cpus: int) -> str:
            self.shares[name] = cpus
            begun.set()
            assert self._release.wait(60)
            return name

        return work

    async def run(self, name: str) -> None:
        self.ended.append(await self.lanes.run(alone(self.body(name)), gone=never))

    async def begun(self, name: str) -> None:
        waiting = self._begun.setdefault(name, threading.Event())
        assert await anyio.to_thread.run_sync(waiting.wait, 60)

    def release(self) -> None:
        self._release.set()


@asynccontextmanager
async def lanes(threads: int, waiting: int = 8) -> AsyncIterator[Works]:
    works = Works(Lanes(threads, max_waiting=waiting))
    try:
        yield works
    finally:
        works.release()
        works.lanes.close()


async def in_line(works: Works, count: int) -> None:
    """Wait until so many stand in line."""
    with anyio.fail_after(60):
        while len(works.lanes._line) != count:
            await anyio.lowlevel.checkpoint()


async def test_alone_all_cpus_together_a_share_each() -> None:
    async with lanes(4) as works, anyio.create_task_group() as group:
        for name in "abcd":
            group.start_soon(works.run, name)
            await works.begun(name)
        assert works.shares == {"a": 4, "b": 2, "c": 1, "d": 1}
        works.release()
    async with lanes(4) as works:
        works.release()
        await works.run("again alone")
        assert works.shares == {"again alone": 4}


async def test_no_more_at_once_than_threads_and_then_in_order() -> None:
    async with lanes(1) as works:
        async with anyio.create_task_group() as group:
            group.start_soon(works.run, "first")
            await works.begun("first")
            for number in range(3):
                group.start_soon(works.run, f"next {number}")
                await in_line(works, number + 1)
            assert works.shares == {"first": 1}
            works.release()
        assert works.ended == ["first", "next 0", "next 1", "next 2"]


async def test_full_line_is_refused_at_once() -> None:
    async with lanes(1, waiting=2) as works, anyio.create_task_group() as group:
        group.start_soon(works.run, "runs")
        await works.begun("runs")
        group.start_soon(works.run, "waits 1")
        group.start_soon(works.run, "waits 2")
        await in_line(works, 2)
        with pytest.raises(TransientError) as caught:
            await works.run("too many")
        assert caught.value.code == "overloaded"
        works.release()


async def test_work_of_a_client_that_hung_up_never_begins() -> None:
    async with lanes(1) as works:
        async with anyio.create_task_group() as group:
            group.start_soon(works.run, "runs")
            await works.begun("runs")
            hung_up = anyio.Event()

            async def impatient() -> None:
                with pytest.raises(ClientGoneError):
                    await works.lanes.run(alone(works.body("dropped")), gone=hung_up.wait)

            group.start_soon(impatient)
            await in_line(works, 1)
            group.start_soon(works.run, "behind")
            await in_line(works, 2)
            hung_up.set()
            await in_line(works, 1)
            works.release()
        assert works.ended == ["runs", "behind"]
        assert "dropped" not in works.shares


async def test_a_cancelled_wait_gives_its_place_back() -> None:
    async with lanes(1) as works:
        async with anyio.create_task_group() as group:
            group.start_soon(works.run, "runs")
            await works.begun("runs")
            with anyio.move_on_after(0.01):
                await works.run("cancelled")
            works.release()
        await works.run("after")
        assert works.ended == ["runs", "after"]
        assert works.lanes._running == 0


async def test_idle_is_noticed_once_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnet.inference.lanes._IDLE_S", 0.01)
    idle = threading.Event()
    resting = Lanes(2, max_waiting=1, on_idle=idle.set)
    assert await resting.run(alone(lambda cpus: cpus), gone=never) == 2
    assert await anyio.to_thread.run_sync(idle.wait, 60)
    resting.close()


async def test_an_error_in_the_work_reaches_the_caller_and_frees_the_lane() -> None:
    async with lanes(1) as works:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await works.lanes.run(alone(lambda cpus: cpus // 0), gone=never)
        assert works.lanes._running == 0


async def test_close_tells_of_work_that_nobody_waits_for_any_more() -> None:
    async with lanes(1) as works:
        async with anyio.create_task_group() as group:
            group.start_soon(works.run, "abandoned")
            await works.begun("abandoned")
            group.cancel_scope.cancel()
        assert works.lanes.close() is False
        works.release()
        with anyio.fail_after(60):
            while not works.lanes.close():  # noqa: ASYNC110  only the thread itself knows
                await anyio.sleep(0.001)


class Company:
    """A group whose calls are seen; it answers each payload with itself."""

    def __init__(self, *, most_rows: int, quick_rows: int = 0) -> None:
        self.most_rows, self.quick_rows = most_rows, quick_rows
        self.calls: list[list[str]] = []
        self.threads: set[int] = set()

    def is_quick(self, rows: int) -> bool:
        return rows <= self.quick_rows

    def took(self, seconds: float) -> None:
        assert seconds >= 0

    def do(self, payloads: Sequence[str], cpus: int) -> list[str | Exception]:
        self.calls.append(list(payloads))
        self.threads.add(threading.get_ident())
        return [ValueError(each) if each == "bad" else each for each in payloads]

    def work(self, name: str, key: str = "k", rows: int = 1) -> Work:
        return Work(do=self.do, payload=name, key=key, rows=rows, group=self)


async def ask(lanes: Lanes, work: Work, answers: dict[str, object]) -> None:
    try:
        answers[work.payload] = await lanes.run(work, gone=never)
    except ValueError as error:
        answers[work.payload] = error


async def test_those_that_come_in_one_turn_of_the_loop_go_together() -> None:
    company, answers = Company(most_rows=4, quick_rows=100), {}
    lanes = Lanes(2, max_waiting=50)
    async with anyio.create_task_group() as group:
        for number, key in enumerate("kkjkkkk"):
            name = "bad" if number == 3 else str(number)
            group.start_soon(ask, lanes, company.work(name, key), answers)
        group.start_soon(ask, lanes, company.work("large", rows=9), answers)
    assert company.calls == [["0", "1", "bad", "4"], ["2"], ["5", "6"], ["large"]]
    assert company.threads == {threading.get_ident()}
    assert isinstance(answers.pop("bad"), ValueError)
    assert answers == {name: name for name in ("0", "1", "2", "4", "5", "6", "large")}
    lanes.close()


async def test_those_that_found_all_lanes_taken_go_together() -> None:
    company, answers = Company(most_rows=8), {}
    async with lanes(1) as works, anyio.create_task_group() as group:
        group.start_soon(works.run, "first")
        await works.begun("first")
        for number in range(3):
            group.start_soon(ask, works.lanes, company.work(str(number)), answers)
            await in_line(works, number + 1)
        works.release()
    assert company.calls == [["0", "1", "2"]]
    assert threading.get_ident() not in company.threads


async def test_time_runs_out_in_line_and_during_the_work() -> None:
    async with lanes(1) as works, anyio.create_task_group() as group:
        soon = anyio.current_time() + 0.02

        async def hurried(name: str) -> None:
            with pytest.raises(DeadlineError):
                await works.lanes.run(alone(works.body(name)), gone=never, deadline=soon)

        group.start_soon(hurried, "under way")
        await works.begun("under way")
        group.start_soon(hurried, "in line")
        with anyio.fail_after(60):
            while not (works.lanes._running and not works.lanes._line):
                await anyio.lowlevel.checkpoint()
        # The thread is not free yet: whoever comes waits for it.
        group.start_soon(works.run, "next")
        await in_line(works, 1)
        assert "next" not in works.shares
        works.release()
    assert works.ended == ["next"]
    assert "in line" not in works.shares


def test_a_line_that_stays_full_becomes_short_until_nobody_is_refused() -> None:
    admission = Admission(longest=64, short=2)
    assert admission.limit(0.0) == 64
    for tenth in range(3):
        admission.refused(10 + tenth / 10)
        assert admission.limit(10 + tenth / 10) == 64  # a burst
    admission.refused(10.4)
    assert admission.limit(10.6) == 2
    assert admission.limit(11.1) == 64
    admission.refused(20.0)
    assert admission.limit(20.0) == 64


async def test_sustained_overload_refuses_the_newest_of_a_long_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cnet.inference.admission._SUSTAINED_S", 0)
    async with lanes(1, waiting=4) as works, anyio.create_task_group() as group:
        group.start_soon(works.run, "runs")
        await works.begun("runs")
        answered = []

        async def waits(name: str) -> None:
            with suppress(TransientError):
                await works.run(name)

        for number in range(4):
            group.start_soon(waits, f"waits {number}")
            await in_line(works, number + 1)
        for number, job in enumerate(works.lanes._line):  # waiters may hear of it in any order
            job.outcome.add_done_callback(lambda _, number=number: answered.append(number))
        with pytest.raises(TransientError):
            await works.run("too many")
        await in_line(works, 1)
        works.release()
    assert answered == [3, 2, 1, 0]
    assert works.ended == ["runs", "waits 0"]
