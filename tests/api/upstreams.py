"""Services for the tests of the routes to them: scripted connections, and a front of uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from cnet.api.guard import Guard
from cnet.api.services import Routed, ServiceRoutes
from cnet.api.services.pool import ConnectionPool
from cnet.errors import UnreachableError

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Place:
    """A replica."""

    workload_id: str
    endpoint: str | None
    node_id: str = "here"
    relayed: bool = False


@dataclass
class Services:
    """A directory that tests write."""

    places: dict[str, Sequence[Place]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    services: dict[str, Routed] = field(default_factory=dict)
    versions: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def replicas(self, name: str) -> Sequence[Place]:
        return self.places.get(name, ())

    def routed(self, name: str) -> Routed | None:
        return self.services.get(name)

    def all_routed(self) -> Sequence[Routed]:
        return list(self.services.values())

    def replica_of(self, workload_id: str) -> tuple[str, str, str] | None:
        return self.versions.get(workload_id)

    async def change(self) -> None:
        await self.news.wait()

    def tell(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()

    def absence(self, name: str) -> str | None:
        return self.absent.get(name)

    def names(self) -> Collection[str]:
        return self.places.keys() | self.absent.keys()


@dataclass
class Links:
    """Other nodes as applications in this process."""

    apps: dict[str, ASGIApp] = field(default_factory=dict)

    def app_for(self, node_id: str) -> ASGIApp:
        if node_id not in self.apps:
            raise UnreachableError(f"node {node_id} cannot be reached")
        return self.apps[node_id]


class Peer:
    """One connection to a scripted service, seen from the service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.heads: list[bytes] = []

    async def request(self) -> tuple[bytes, bytes]:
        """Head and body of the next request; IncompleteReadError at the end."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        fields = fields_of(head)
        if fields.get(b"transfer-encoding") == b"chunked":
            chunks = []
            while chunk := await self.chunk():
                chunks.append(chunk)
            return head, b"".join(chunks)
        return head, await self.reader.readexactly(int(fields.get(b"content-length", b"0")))

    async def chunk(self) -> bytes:
        """One chunk of a chunked body, empty for the last."""
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def say(self, data: bytes) -> None:
        if self.writer.transport.is_closing():  # uvloop would raise RuntimeError
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Wait until the other side has closed."""
        while await self.reader.read(65536):
            continue


Script = Callable[[Peer], Awaitable[None]]


class Upstream:
    """A service of raw sockets; each connection runs the next script, the last one for ever."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self.peers: list[Peer] = []
        self.endpoint = ""
        self.closed = asyncio.Event()
        """set when a connection has ended"""

    @property
    def heads(self) -> list[bytes]:
        return [head for peer in self.peers for head in peer.heads]

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        script = self._scripts[min(len(self.peers), len(self._scripts) - 1)]
        self.peers.append(peer)
        try:
            await script(peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.closed.set()


def answers(*answers: bytes) -> Script:
    """Each request gets the next answer, the last one for ever; then the connection stays open."""

    async def script(peer: Peer) -> None:
        count = 0
        while True:
            await peer.request()
            await peer.say(answers[min(count, len(answers) - 1)])
            count += 1

    return script


def once(answer: bytes) -> Script:
    """One answer, then the end of the connection."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(answer)

    return script


def fields_of(head: bytes) -> dict[bytes, bytes]:
    """Fields of a head, names in lower case."""
    lines = head.strip().split(b"\r\n")[1:]
    return {name.lower(): value for name, value in (line.split(b": ", 1) for line in lines)}


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until `condition()`; the test's own time limit bounds it."""
    while not condition():  # noqa: ASYNC110  conditions of several objects, none with an event
        await asyncio.sleep(0)


@asynccontextmanager
async def running(*upstreams: Upstream) -> AsyncIterator[None]:
    """Let them listen."""
    servers = []
    for upstream in upstreams:
        server = await asyncio.start_server(upstream.accept, "127.0.0.1", 0)
        upstream.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        servers.append(server)
    try:
        yield
    finally:
        for server in servers:
            server.close()
        for upstream in upstreams:
            for peer in upstream.peers:
                peer.writer.close()


async def inner(scope: Any, receive: Any, send: Any) -> None:
    """The agent's own routes."""
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


@dataclass
class Front:
    """An agent's front door."""

    port: int
    routes: ServiceRoutes
    pool: ConnectionPool
    services: Services
    links: Links

    async def connect(self) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self.port))

    async def ask(self, method: str, path: str, *fields: str, body: bytes = b"") -> Answer:
        """One request on a connection of its own."""
        client = await self.connect()
        try:
            await client.send(method, path, *fields, body=body)
            return await client.answer(method)
        finally:
            client.close()


@asynccontextmanager
async def front(
    services: Services, links: Links | None = None, **limits: Any
) -> AsyncIterator[Front]:
    """uvicorn's own protocol over guard and routes, without its server loop."""
    streamed = limits.pop("max_streamed_bytes", 1 << 30)
    pool, links = ConnectionPool(**limits), links or Links()
    routes = ServiceRoutes(inner, directory=services, carrier=links, pool=pool)
    app = Guard(routes, token=None, max_body_bytes=1024, max_streamed_bytes=streamed)
    config = uvicorn.Config(
        app, log_config=None, lifespan="off", access_log=False, proxy_headers=False
    )
    state = ServerState()
    state.default_headers = [(b"date", b"now")]
    server = await asyncio.get_running_loop().create_server(
        lambda: HttpToolsProtocol(config, state, {}), "127.0.0.1", 0
    )
    try:
        yield Front(server.sockets[0].getsockname()[1], routes, pool, services, links)
    finally:
        server.close()
        routes.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await until(lambda: not state.tasks)


@dataclass
class Answer:
    """What a client got; `whole` tells that it did not break off."""

    status: int = 0
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    whole: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def all(self, name: bytes) -> list[bytes]:
        return [value for each, value in self.fields if each.lower() == name]

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.whole = True


class Client:
    """A raw connection to the front."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, method: str, path: str, *fields: str, body: bytes = b"") -> None:
        """A request; its length is told unless `fields` say how it is framed."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost:80", *fields]
        if body and not any("-Length" in line or "-Encoding" in line for line in fields):
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        await self.writer.drain()

    async def answer(self, method: str = "GET") -> Answer:
        """The next answer, as much of it as comes."""
        answer = Answer()
        parser = httptools.HttpResponseParser(answer)
        head = await self.reader.readuntil(b"\r\n\r\n")
        parser.feed_data(head)
        answer.status = parser.get_status_code()
        if method == "HEAD":
            answer.whole = True
        while not answer.whole and (data := await self.reader.read(1 << 18)):
            parser.feed_data(data)
        return answer

    def close(self) -> None:
        self.writer.transport.abort()
