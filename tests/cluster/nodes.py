"""Agents reduced to their links: real server, sockets and exchange, and a small application."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol

import anyio
import httpx
import uvicorn
from anyio.abc import TaskStatus
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from cnet.cluster.exchange import Exchange
from cnet.cluster.hello import Identity
from cnet.cluster.links import Links
from cnet.cluster.wire import MAX_MESSAGE
from cnet.config import Settings
from cnet.model.node import NodeState
from cnet.model.resources import Resources
from tests.cluster.wire import Wire

PING_S = 0.1
PATIENCE_S = 20.0


async def until(condition: Callable[[], Any], *, within_s: float = PATIENCE_S) -> None:
    """Wait for a condition that nothing announces."""
    with anyio.fail_after(within_s):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.002)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


_listeners: list[socket.socket] = []


def listening(port: int = 0) -> socket.socket:
    """A socket for a node, which thus has an address that others can be told before it runs."""
    listener = socket.create_server(("127.0.0.1", port), backlog=100)
    _listeners.append(listener)
    return listener


def close_listeners() -> None:
    """Also those of nodes that never ran."""
    while _listeners:
        _listeners.pop().close()


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def address_of(listener: socket.socket) -> str:
    return f"127.0.0.1:{port_of(listener)}"


class Node:
    """Use: `running(node, …)`."""

    def __init__(
        self,
        name: str,
        *,
        parent: str | None = None,
        peers: tuple[str, ...] = (),
        escalate: bool = False,
        incarnation: int = 1,
        instance: str | None = None,
        listener: socket.socket | None = None,
        ping_s: float = PING_S,
    ) -> None:
        self.name = name
        self.listener = listener or listening()
        self.port = port_of(self.listener)
        self.address = address_of(self.listener)
        settings = Settings.model_validate(
            {
                "parent": {"enabled": bool(parent), "address": parent, "escalate": escalate},
                "peers": {"enabled": bool(peers), "addresses": list(peers)},
                "links": {"ping_s": ping_s, "retry_min_s": 0.02, "retry_max_s": 0.2},
            }
        )
        self.addresses_seen: list[str] = []
        self.links = Links(
            identity=Identity(
                node_id=name,
                instance=instance or f"directory of {name}",
                incarnation=incarnation,
                port=self.port,
            ),
            settings=settings,
            address_seen=self.addresses_seen.append,
        )
        self.routes_changed: list[tuple[str, bool]] = []
        self.delivered: list[tuple[str, Any]] = []
        self.exchange = Exchange(
            name,
            escalate=escalate,
            share=False,
            transmit=self.links.transmit,
            deliver=lambda source, body: self.delivered.append((source, body)),
            route_changed=lambda node_id, up: self.routes_changed.append((node_id, up)),
            dirty=self.links.dirty,
            now=anyio.current_time,
        )
        self.incarnation = incarnation
        self.application = Application(name)
        self.links.attach(exchange=self.exchange, app=self.application)
        self._stop = anyio.Event()
        self.stopped = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Until `stop`."""
        server = _Server(
            uvicorn.Config(
                self._outer,
                log_config=None,
                access_log=False,
                interface="asgi3",
                lifespan="off",
                ws="websockets-sansio",
                ws_max_size=MAX_MESSAGE,
                ws_per_message_deflate=False,
                ws_ping_interval=None,
                timeout_graceful_shutdown=1,
            )
        )
        self.tell(1)
        async with anyio.create_task_group() as group:
            await group.start(self.links.run)
            group.start_soon(self._announce, server, task_status)
            await server.serve([self.listener])
            group.cancel_scope.cancel()
        self.listener.close()
        self.stopped.set()

    async def _announce(self, server: uvicorn.Server, task_status: TaskStatus[None]) -> None:
        await until(lambda: server.started)
        task_status.started()
        await self._stop.wait()
        server.should_exit = True

    async def stop(self) -> None:
        """Return once the port is free."""
        self._stop.set()
        await self.stopped.wait()

    def tell(self, seq: int, **changes: Any) -> None:
        """Put another state of the own node about."""
        state = NodeState(
            node_id=self.name,
            incarnation=self.incarnation,
            seq=seq,
            capacity=Resources(),
            available=Resources(),
            **changes,
        )
        self.exchange.set_self(state)

    def client(self, node_id: str) -> httpx.AsyncClient:
        """HTTP requests to a node's application, through the links of this one."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.links.app_for(node_id)), base_url="http://here"
        )

    @property
    def url(self) -> str:
        """`/to/<node>/<path>` below it is carried to that node."""
        return f"http://{self.address}"

    async def _outer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self.links.accept(scope, receive, send)
            return
        _, _, node_id, path = scope["path"].split("/", 3)
        scope = {**scope, "path": f"/{path}"}
        await self.links.app_for(node_id)(scope, receive, send)


class Application:
    """What a node answers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.scopes: list[Scope] = []
        self.left: list[str] = []
        """paths of requests whose reply was not completed, and `/patient` when its caller left"""
        self.held = anyio.Event()
        """`/held` reads no body and does not answer before it is set"""
        self.streamed = 0
        """bytes that `/endless` has put out"""
        self._router = Router(
            [
                Route("/who", self._who),
                Route("/digest", self._digest, methods=["POST"]),
                Route("/zeros", self._zeros),
                Route("/endless", self._endless),
                Route("/events", self._events),
                Route("/held", self._held, methods=["GET", "POST"]),
                Route("/patient", self._patient),
                Route("/broken", self._broken),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        app = _echo if scope["path"] == "/echo" else self._router
        complete = False

        async def watched(message: Message) -> None:
            nonlocal complete
            await send(message)
            complete |= message["type"] == "http.response.body" and not message.get("more_body")

        try:
            await app(scope, receive, watched)
        finally:
            if not complete:
                self.left.append(scope["path"])

    async def _who(self, request: Request) -> Response:
        headers = dict(request.headers.items())
        return JSONResponse({"node": self.name, "headers": headers}, headers={"x-node": self.name})

    async def _digest(self, request: Request) -> Response:
        digest, size = hashlib.sha256(), 0
        async for piece in request.stream():
            digest.update(piece)
            size += len(piece)
        return JSONResponse({"sha256": digest.hexdigest(), "size": size})

    async def _zeros(self, request: Request) -> Response:
        size = int(request.query_params["size"])

        async def body() -> AsyncIterator[bytes]:
            for start in range(0, size, 100_000):
                yield bytes(min(100_000, size - start))

        return StreamingResponse(body())

    async def _endless(self, request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            while True:
                self.streamed += 50_000
                yield bytes(50_000)

        return StreamingResponse(body())

    async def _events(self, request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"data: hello\n\n"
            await anyio.sleep_forever()

        return StreamingResponse(body(), media_type="text/event-stream")

    async def _held(self, request: Request) -> Response:
        await self.held.wait()
        return Response("done")

    async def _patient(self, request: Request) -> Response:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.left.append("/patient")
        return Response("nobody reads this")

    async def _broken(self, request: Request) -> Response:
        raise RuntimeError("planted")


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    """The body goes back while it is still coming."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


class Part(Protocol):
    """Something that runs until it is stopped."""

    async def run(self, *, task_status: TaskStatus[None]) -> None: ...

    async def stop(self) -> None: ...


@asynccontextmanager
async def running(*parts: Part) -> AsyncIterator[Callable[[Part], Awaitable[None]]]:
    """Start the parts, and those handed to the function it gives; all are stopped at the end."""
    started: list[Part] = []

    async def start(part: Part) -> None:
        await group.start(part.run)
        started.append(part)

    async with anyio.create_task_group() as group:
        try:
            for part in parts:
                await start(part)
            yield start
        finally:
            with anyio.move_on_after(5, shield=True):
                async with anyio.create_task_group() as ending:
                    for part in started:
                        ending.start_soon(part.stop)


async def others_have_had_time_to_call(start: Callable[[Part], Awaitable[None]]) -> None:
    """Return when an agent with everybody's pauses has called several times in vain."""
    nowhere = Wire(0)
    await start(nowhere)
    await start(Node("lonely", peers=(nowhere.address,)))
    await until(lambda: nowhere.connections >= 8)


async def linked(one: Node, other: Node) -> None:
    """Wait until both know of a link between them."""
    await until(lambda: other.name in one.links.linked and one.name in other.links.linked)
