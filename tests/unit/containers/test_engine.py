"""An engine that ends while it is asked something."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
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


class FailingEngine:
    """Answers 500 to whatever it is asked to do; `ends`: it takes no connections by then."""

    def __init__(self, *, ends: bool) -> None:
        self._ends = ends
        self._listener: SocketListener | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Engine]:
        """An `Engine` that is connected to it."""
        with TemporaryDirectory() as folder:
            path = str(Path(folder) / "s")
            self._listener = await anyio.create_unix_listener(path)
            engine = Engine(f"unix://{path}", label="x=y")
            async with self._listener, anyio.create_task_group() as group:
                group.start_soon(self._serve, self._listener, group)
                engine.connect()
                await group.start(engine.run)
                await engine.until_there()
                yield engine
                group.cancel_scope.cancel()

    async def _serve(self, listener: SocketListener, group: TaskGroup) -> None:
        while True:
            try:
                stream = await listener.accept()
            except anyio.ClosedResourceError:
                return  # connections are kept
            group.start_soon(self._answer, stream)

    async def _answer(self, stream: SocketStream) -> None:
        async with stream:
            while True:
                try:
                    request = await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
                if b"/_ping" in request or b"/version" in request:
                    await self._send(stream, 200, {"ApiVersion": "1.41"})
                elif b"/events" in request:
                    await stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                    await anyio.sleep_forever()
                else:
                    if self._ends and self._listener is not None:
                        await self._listener.aclose()
                    await self._send(stream, 500, {"message": "no such file or directory"})

    async def _send(self, stream: SocketStream, status: int, content: dict[str, str]) -> None:
        body = json.dumps(content).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
        await stream.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


@pytest.mark.parametrize("ends", [True, False])
async def test_what_an_ending_engine_fails_at_is_not_the_fault_of_a_request(ends: bool) -> None:
    async with FailingEngine(ends=ends).running() as engine:
        with pytest.raises((EngineAwayError, EngineError)) as failed:
            await engine.ask(lambda client: client.containers.container("c").start())
    assert isinstance(failed.value, EngineAwayError if ends else EngineError)
    assert "no such file" in failed.value.message


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
