"""An engine that ends while it is asked something."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from anyio.abc import SocketListener, SocketStream, TaskGroup

from cnet.executors.commands import LogLimits
from cnet.executors.container.engine import Engine, EngineAwayError, EngineError
from cnet.executors.container.executor import ContainerExecutor, ContainerSettings

pytestmark = pytest.mark.anyio


class FakeEngine:
    """Answers what every engine is asked; what else, say those that are made of it."""

    listener: SocketListener

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Engine]:
        """An `Engine` that asks it."""
        with TemporaryDirectory() as folder:
            path = str(Path(folder) / "s")
            self.listener = await anyio.create_unix_listener(path)
            engine = Engine(f"unix://{path}", label="x=y")
            async with self.listener, anyio.create_task_group() as group:
                group.start_soon(self._serve, group)
                group.start_soon(engine.run)
                with anyio.fail_after(60):
                    await engine.until_there()
                    yield engine
                group.cancel_scope.cancel()

    async def _serve(self, group: TaskGroup) -> None:
        while True:
            try:
                stream = await self.listener.accept()
            except anyio.ClosedResourceError:
                return  # connections are kept
            group.start_soon(self._converse, stream)

    async def _converse(self, stream: SocketStream) -> None:
        async with stream:
            while True:
                try:
                    request = await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return
                if b"/_ping" in request:
                    await self.ping(stream)
                elif b"/version" in request:
                    await send(stream, 200, {"ApiVersion": "1.41"})
                elif b"/events" in request:
                    await self.events(stream)
                else:
                    await self.answer(stream)

    async def ping(self, stream: SocketStream) -> None:
        await send(stream, 200, {})

    async def events(self, stream: SocketStream) -> None:
        await stream.send(ENDLESS)
        await anyio.sleep_forever()

    async def answer(self, stream: SocketStream) -> None:
        """Whatever else it is asked."""
        raise NotImplementedError


JSON = "Content-Type: application/json\r\n"
ENDLESS = f"HTTP/1.1 200 OK\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n".encode()


async def send(stream: SocketStream, status: int, content: dict[str, str]) -> None:
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {status} X\r\n{JSON}Content-Length: {len(body)}\r\n\r\n"
    await stream.send(head.encode() + body)


class FailingEngine(FakeEngine):
    """Fails at whatever it is asked to do; `ends`: it takes no connections by then."""

    def __init__(self, status: int, *, ends: bool) -> None:
        self._status = status
        self._ends = ends

    async def answer(self, stream: SocketStream) -> None:
        if self._ends:
            await self.listener.aclose()
        await send(stream, self._status, {"message": "no such file or directory"})


@pytest.mark.parametrize("status", [404, 500])
@pytest.mark.parametrize("ends", [True, False])
async def test_what_an_ending_engine_fails_at_is_not_the_fault_of_a_request(
    ends: bool, status: int
) -> None:
    async with FailingEngine(status, ends=ends).running() as engine:
        with pytest.raises((EngineAwayError, EngineError)) as failed:
            await engine.ask(lambda client: client.containers.container("c").start())
    assert isinstance(failed.value, EngineAwayError if ends else EngineError)
    assert "no such file" in failed.value.message


class HesitantEngine(FakeEngine):
    """Answers pings before it can tell of its events."""

    def __init__(self) -> None:
        self.refusals = 0

    async def events(self, stream: SocketStream) -> None:
        if self.refusals < 2:
            self.refusals += 1
            await stream.aclose()
        else:
            await super().events(stream)


async def test_who_waits_for_an_engine_hears_of_it_after_false_starts() -> None:
    fake = HesitantEngine()
    async with fake.running() as engine:
        assert engine.absence is None
    assert fake.refusals == 2


class HangingEngine(FakeEngine):
    """Begins its answers and does not end them; then it answers no pings."""

    hangs = False

    async def ping(self, stream: SocketStream) -> None:
        await (stream.aclose() if self.hangs else super().ping(stream))

    async def answer(self, stream: SocketStream) -> None:
        await stream.send(ENDLESS + b"1\r\nx\r\n")
        await anyio.sleep_forever()


async def test_what_an_engine_does_not_end_is_broken_off_when_it_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Logs that are followed, a pull, a request: nobody waits for them for ever."""
    monkeypatch.setattr("cnet.executors.container.engine.PING_EVERY_S", 0.01)
    fake, ends = HangingEngine(), 0
    async with fake.running() as engine:

        async def follow(sees: anyio.Event) -> None:
            async with engine.stream("containers/c/logs", {}) as content:
                assert await content.read(1) == b"x"
                sees.set()
                await content.read(1)

        async def ask(sees: anyio.Event) -> None:
            sees.set()
            await engine.get("containers/c/json")

        async def broken_off(
            work: Callable[[anyio.Event], Awaitable[None]], sees: anyio.Event
        ) -> None:
            nonlocal ends
            with pytest.raises(EngineAwayError):
                await work(sees)
            ends += 1

        async with anyio.create_task_group() as group:
            for work in (follow, ask):
                sees = anyio.Event()
                group.start_soon(broken_off, work, sees)
                await sees.wait()
            assert ends == 0
            fake.hangs = True
    assert ends == 2


async def test_what_is_not_answered_in_time_counts_as_away() -> None:
    """The engine is there, and what it was asked may have been done."""
    async with HangingEngine().running() as engine:
        with pytest.raises(EngineAwayError, match=r"not answered within 0\.1 s"):
            await engine.ask(lambda it: it.containers.container("c").show(), within_s=0.1)
        assert engine.absence is None


class ForgetfulEngine:
    """Goes away at the first request to start something, and has done it or not."""

    def __init__(self, status: str) -> None:
        self._status = status
        self.starts = 0

    async def ask(self, request: Any) -> None:
        self.starts += 1
        if self.starts == 1:
            raise EngineAwayError("gone")

    async def until_there(self) -> None:
        """It is."""

    async def ask_until_answered(self, request: Any) -> dict[str, Any]:
        return {"State": {"Status": self._status}}


@pytest.mark.parametrize(("status", "starts"), [("created", 2), ("running", 1), ("exited", 1)])
async def test_a_container_is_started_once(tmp_path: Path, status: str, starts: int) -> None:
    """An engine that is back would start one again that has run to its end."""
    settings = ContainerSettings(root=tmp_path, instance="i", host="unix:///nowhere")
    executor = ContainerExecutor(settings, LogLimits(max_bytes=4096, files=1))
    engine = ForgetfulEngine(status)
    executor._engine = engine  # type: ignore[assignment]
    assert await executor._begin("c")
    assert engine.starts == starts
