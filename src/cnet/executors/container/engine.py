"""The container engine of this node: whether it is there, and what it is asked.

One connection carries its events: when that breaks, the engine is away, and what waits for it is
asked again when it is back. Events are hints only; whoever waits for something looks for itself.
The only module that knows the client library.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import structlog
from anyio.abc import ByteStream, TaskStatus

from cnet.errors import CnetError, ConfigError, UnreachableError
from cnet.executors.container.connecting import Address, RefusedError, taken_over
from cnet.executors.container.discovery import TlsFiles, candidates
from cnet.executors.container.incarnation import incarnation
from cnet.executors.container.ping import ping

if TYPE_CHECKING:
    from aiodocker import Docker

log = structlog.get_logger(__name__)

T = TypeVar("T")

PING_EVERY_S = 5.0
PING_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 300.0
"""Of what should be quick: a disk that is slow must not pass for a dead engine."""
EVENTS_WITHIN_S = 60.0
"""Until an engine that answers lets its events be heard, too."""
CLOSE_WITHIN_S = 5.0
FIRST_PAUSE_S = 0.1
LAST_PAUSE_S = 2.0
NO_CONNECTION = 900
"""The status that the client library makes up for an engine that cannot be reached."""


class EngineAwayError(UnreachableError):
    """The engine does not answer; what it was asked may have been done."""

    code = "engine_unreachable"


class EngineError(CnetError):
    """The engine's answer is an error, `status` as in HTTP."""

    code = "engine_error"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Engine:
    """Asks the engine at `host` (None: the one that is found). `run` must be running.

    Raises ConfigError for a `host` that is no address, and for files of `tls` that cannot be read.
    `on_change` is called when the engine comes
    or goes, `on_connected` when its events are heard from then on, `on_event` with (container id,
    action) for the containers with the label `label`.
    """

    def __init__(self, host: str | None, *, label: str, tls: TlsFiles | None = None) -> None:
        if host is not None:
            candidates(host, tls=tls)  # a wrong address is told at once
        self._host = host
        self._tls = tls
        self._label = label
        self.absence: str | None = "not looked for yet"
        """why it cannot be asked; None when it can"""
        self.on_change: Callable[[], None] = lambda: None
        self.on_connected: Callable[[], None] = lambda: None
        self.on_event: Callable[[str, str], None] = lambda *_: None
        self._address = Address("")
        self._client: Docker | None = None
        self._under_way: set[anyio.CancelScope] = set()
        self._wanted = anyio.Event()
        self._usable = anyio.Event()
        self._was_usable = False
        self._closed = False

    # --- being there ---------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Look for the engine and watch it until cancelled; `started()` after the first look."""
        pause_s = FIRST_PAUSE_S
        try:
            while True:
                why_not = await self._find()
                if why_not is None:
                    self._come()
                else:
                    self._go(why_not)
                task_status.started()
                task_status = anyio.TASK_STATUS_IGNORED
                if why_not is None:
                    self._was_usable = False
                    self._go(await self._until_lost())
                    pause_s = FIRST_PAUSE_S if self._was_usable else pause_s
                await anyio.sleep(pause_s)
                pause_s = min(pause_s * 2, LAST_PAUSE_S)
        finally:
            self._closed = True
            self._usable.set()

    async def _find(self) -> str | None:
        """Why there is none; None when `_address` is that of one."""
        reasons = []
        try:
            addresses = candidates(self._host, tls=self._tls)
        except ConfigError as error:  # of an environment that was not made for us
            return error.message
        for address in addresses:
            why_not = await ping(address, PING_TIMEOUT_S)
            if why_not is None:
                self._address = address
                return None
            reasons.append(why_not)
        return "; ".join(reasons) or (
            "no container engine: none of the usual sockets is there, and neither docker.host nor "
            "DOCKER_HOST is set"
        )

    def _come(self) -> None:
        if self.absence is not None:
            log.info("engine_found", address=str(self._address))
            self.absence = None
            self.on_change()

    def _go(self, why: str) -> None:
        if self.absence is None:
            log.warning("engine_lost", why=why)
        if self.absence != why:
            self.absence = why
            self.on_change()

    async def _until_lost(self) -> str:
        """Watch it; the reason for which it counts as away."""
        while not self._wanted.is_set():  # nobody has asked it anything yet
            with anyio.move_on_after(PING_EVERY_S):
                await self._wanted.wait()
            if (why_not := await ping(self._address, PING_TIMEOUT_S)) is not None:
                return why_not
        # In a thread: it takes a second the first time.
        await anyio.to_thread.run_sync(importlib.import_module, "aiodocker")
        client = _open(self._address)
        try:
            return await self._serve(client)
        finally:
            self._client = None
            if self._usable.is_set():  # else there are some who wait for just this one
                self._usable = anyio.Event()
            for scope in self._under_way:
                scope.cancel()
            with anyio.move_on_after(CLOSE_WITHIN_S, shield=True):
                await client.close()
                await client.connector.close()

    async def _serve(self, client: Docker) -> str:
        reasons: list[str] = []

        async def watch(work: Callable[[Docker], Awaitable[str]]) -> None:
            reasons.append(await work(client))
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(watch, self._keep_asking)
            group.start_soon(watch, self._hear)
        return reasons[0]

    async def _keep_asking(self, client: Docker) -> str:
        while True:
            if (why_not := await ping(self._address, PING_TIMEOUT_S)) is not None:
                return why_not
            await anyio.sleep(PING_EVERY_S)

    async def _hear(self, client: Docker) -> str:
        """Hand on events, and let requests in as soon as none can be missed."""
        filters = {"type": ["container"], "label": [self._label]}
        params = {"filters": json.dumps(filters)}
        try:
            with anyio.fail_after(EVENTS_WITHIN_S) as patience:
                async with _streamed(client, "events", params) as content:
                    patience.deadline = math.inf
                    self._client = client
                    self._was_usable = True
                    self._usable.set()
                    self.on_connected()
                    async for line in content:
                        event = json.loads(line)
                        self.on_event(event["Actor"]["ID"], event["Action"])
        except EngineAwayError:
            return f"{self._address}: the connection has broken"
        except TimeoutError:
            return f"{self._address}: no events within {EVENTS_WITHIN_S:g} s"
        except (EngineError, ValueError, KeyError) as error:
            return f"{self._address}: no events: {error}"
        return f"{self._address} has ended its events"

    def connect(self) -> None:
        """Do so now, not when something is asked first."""
        self._wanted.set()

    # --- asking --------------------------------------------------------------------------------

    async def ask(
        self,
        request: Callable[[Docker], Awaitable[T]],
        *,
        within_s: float | None = REQUEST_TIMEOUT_S,
    ) -> T:
        """What `request` makes of the client library.

        Raises EngineAwayError, also when there is no answer by then, and EngineError.
        """
        try:
            with anyio.fail_after(within_s):
                async with self._there() as client:
                    return await _translated(request, client)
        except TimeoutError as error:
            sentence = f"the container engine has not answered within {within_s:g} s"
            raise EngineAwayError(sentence) from error
        except EngineError as error:
            # One that is about to end fails at what it has begun (its containerd knows nothing of
            # it any more, say), and takes no new connections.
            if await self.takes_connections():
                raise
            raise EngineAwayError(f"the container engine ends: {error.message}") from error

    async def ask_until_answered(
        self,
        request: Callable[[Docker], Awaitable[T]],
        *,
        within_s: float | None = REQUEST_TIMEOUT_S,
    ) -> T:
        """The same, again and again while the engine is away; so it must be harmless to repeat."""
        while True:
            try:
                return await self.ask(request, within_s=within_s)
            except EngineAwayError:
                if self._closed:
                    raise
                await anyio.sleep(FIRST_PAUSE_S)
                await self.until_there()

    async def until_there(self) -> None:
        """Wait for the engine; raises EngineAwayError when the agent ends."""
        while self.absence is not None or self._client is None:
            if self._closed:
                raise EngineAwayError("the agent is shutting down")
            self._wanted.set()
            await self._usable.wait()

    async def takes_connections(self) -> bool:
        """Whether a new one is answered now."""
        return await ping(self._address, PING_TIMEOUT_S) is None

    async def incarnation(self) -> str | None:
        """Which process it is now; None where that cannot be told."""
        return await incarnation(self._address, PING_TIMEOUT_S)

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer to a POST for which the client library has no function; JSON, or text."""

        async def request(client: Docker) -> Any:
            return await client._query_json(path, method="POST", data=dict(body or {}))

        return await self.ask(request)

    @asynccontextmanager
    async def conversation(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncIterator[tuple[ByteStream, bytes]]:
        """A connection of its own that the engine hands over; and what has come over it so far.

        It outlives an engine that hangs for a while, as whoever talks may leave. Raises
        EngineAwayError, also when it breaks inside, and EngineError.
        """
        await self._ready()
        try:
            async with taken_over(self._address, path, body) as taken:
                yield taken
        except RefusedError as error:
            raise EngineError(error.status, error.message) from error
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            raise EngineAwayError(f"{path}: {type(error).__name__}") from error

    @asynccontextmanager
    async def stream(self, path: str, params: Mapping[str, str]) -> AsyncIterator[Any]:
        """The body of an answer that goes on, as aiohttp's StreamReader.

        Raises EngineAwayError, also for a body that breaks off inside, and EngineError.
        """
        async with self._there() as client, _streamed(client, path, params) as content:
            yield content

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """The JSON at a path for which the client library has no function."""

        async def request(client: Docker) -> Any:
            return await client._query_json(path, params=dict(params or {}))

        return await self.ask(request)

    @asynccontextmanager
    async def _there(self) -> AsyncIterator[Docker]:
        """A client, as long as the engine is there: what is done with it is broken off then.

        For one that hangs closes nothing, and the client library tells nobody who waits for the
        rest of an answer that it closes the connection itself. Raises EngineAwayError.
        """
        client = await self._ready()
        with anyio.CancelScope() as scope:
            self._under_way.add(scope)
            try:
                yield client
            finally:
                self._under_way.discard(scope)
        if scope.cancelled_caught:
            raise EngineAwayError("the container engine has just gone away")

    async def _ready(self) -> Docker:
        self._wanted.set()
        if self.absence is None and self._client is None and not self._closed:
            with anyio.move_on_after(PING_TIMEOUT_S):
                await self._usable.wait()
        if self._client is None:
            raise EngineAwayError(f"the container engine is away: {self.absence or 'it is busy'}")
        return self._client


def _open(address: Address) -> Docker:
    aiodocker = importlib.import_module("aiodocker")
    aiohttp = importlib.import_module("aiohttp")
    # No limit: logs are followed by a connection each, which must not shut out all else.
    if address.socket is not None:
        connector = aiohttp.UnixConnector(address.socket, limit=0)
        url = "unix://localhost"
    elif address.tls is not None:
        connector = aiohttp.TCPConnector(limit=0, ssl=address.tls)
        url = urlsplit(address.url)._replace(scheme="https").geturl()
    else:
        connector = aiohttp.TCPConnector(limit=0)
        url = address.url
    timeout = aiohttp.ClientTimeout(sock_connect=PING_TIMEOUT_S)
    client: Docker = aiodocker.Docker(url=url, connector=connector, timeout=timeout)
    return client


async def _translated(request: Callable[[Docker], Awaitable[T]], client: Docker) -> T:
    import aiodocker  # loaded by now, see `_until_lost`
    import aiohttp

    try:
        return await request(client)
    except aiodocker.DockerError as error:
        if error.status == NO_CONNECTION:
            raise EngineAwayError(str(error.message)) from error
        raise EngineError(error.status, str(error.message).strip()) from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise EngineAwayError(f"the container engine: {type(error).__name__} {error}") from error
    except Exception as error:
        if client.session.closed:  # the library has no error of its own for that
            raise EngineAwayError("the container engine has just gone away") from error
        raise


@asynccontextmanager
async def _streamed(client: Docker, path: str, params: Mapping[str, str]) -> AsyncIterator[Any]:
    async def request(client: Docker) -> Any:
        # The library's own functions swallow a broken connection, or decode the bytes.
        async with client._query(path, params=dict(params)) as response:
            return response

    response = await _translated(request, client)
    import aiohttp

    try:
        yield response.content
    except (aiohttp.ClientError, OSError) as error:
        raise EngineAwayError(f"{path}: {type(error).__name__}") from error
    finally:
        response.close()
