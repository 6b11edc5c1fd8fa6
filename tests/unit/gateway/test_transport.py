"""Connections: which requests become tasks, and when an idle connection is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
import uvicorn
from anyio.abc import SocketStream
from anyio.lowlevel import checkpoint
from uvicorn.server import ServerState

from cnet.gateway.transport import GatewayProtocol
from cnet.gateway.wire import Receive, Scope, Send

pytestmark = pytest.mark.anyio

_WITHIN_S = 30.0
_ENDS = (b"a task.", b"no task.", b"Internal Server Error")


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Says whether a task runs it; what it does before is in the path."""
    path = scope["raw_path"].decode()
    if path == "/error":
        raise ValueError("of the application")
    if path in ("/waits", "/waits-and-fails"):
        await checkpoint()
    if path == "/future":
        later = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(later.set_result, None)
        await later
    if path == "/sleeps":
        await checkpoint()
        with anyio.fail_after(_WITHIN_S):
            await anyio.sleep(0.001)
    if path == "/waits-and-fails":
        raise ValueError("of the application")
    body = b"a task." if asyncio.current_task() else b"no task."
    value = b"1\r\ninjected: 2" if path == "/header" else b"1"
    headers = [(b"x", value), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if path == "/between":
        await checkpoint()
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected(
    keep_alive_s: int = 30, state: ServerState | None = None
) -> AsyncIterator[SocketStream]:
    """A connection to a server with that application."""
    config = uvicorn.Config(
        application,
        http=GatewayProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=keep_alive_s,
    )
    config.load()
    known = state or ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: GatewayProtocol(config=config, server_state=known, app_state={}), "127.0.0.1", 0
    )
    try:
        port = server.sockets[0].getsockname()[1]
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            yield stream
    finally:
        server.close()


async def ask(stream: SocketStream, path: str, method: str = "GET", more: str = "") -> bytes:
    """A whole reply."""
    await stream.send(f"{method} {path} HTTP/1.1\r\nhost: h\r\n{more}\r\n".encode())
    reply = b""
    with anyio.fail_after(_WITHIN_S):
        while not reply.endswith(_ENDS):
            reply += await stream.receive()
    return reply


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("/", b"no task."),
        ("/between", b"no task."),
        ("/waits", b"a task."),
        ("/future", b"a task."),
        ("/sleeps", b"a task."),
    ],
)
async def test_what_waits_becomes_a_task(path: str, end: bytes) -> None:
    async with connected() as stream:
        for _ in range(3):
            reply = await ask(stream, path)
            assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
            assert reply.endswith(b"\r\n\r\n" + end)


@pytest.mark.parametrize(
    ("method", "more"), [("DELETE", ""), ("POST", "content-length: 0\r\n"), ("PUT", "")]
)
async def test_what_changes_something_is_a_task(method: str, more: str) -> None:
    async with connected() as stream:
        assert (await ask(stream, "/", method, more)).endswith(b"\r\n\r\na task.")


@pytest.mark.parametrize("path", ["/error", "/waits-and-fails", "/header"])
async def test_errors_of_the_application_are_answered(path: str) -> None:
    async with connected() as stream:
        reply = await ask(stream, path)
        assert reply.startswith(b"HTTP/1.1 500 ")
        assert b"injected" not in reply


@pytest.mark.parametrize("path", ["/", "/waits"])
async def test_idle_connection_is_closed(path: str) -> None:
    async with connected(keep_alive_s=1) as stream:
        for _ in range(3):
            await ask(stream, path)
        with anyio.fail_after(_WITHIN_S), pytest.raises(anyio.EndOfStream):
            await stream.receive()


async def test_connection_in_use_outlives_the_timer() -> None:
    """It was set when the first request ended, and looks when the connection was idle last."""
    state = ServerState()
    async with connected(state=state) as stream:
        for path in ("/", "/waits", "/", "/waits"):
            await ask(stream, path)
            (protocol,) = state.connections
            assert isinstance(protocol, GatewayProtocol)
            timer = protocol.timeout_keep_alive_task
            assert timer is not None
            timer.cancel()
            protocol.timeout_keep_alive_handler()  # as if it had run out
            assert protocol.timeout_keep_alive_task not in (None, timer)
        assert (await ask(stream, "/")).endswith(b"no task.")
