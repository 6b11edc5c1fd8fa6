"""Kept-alive connections to the services of this node."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from urllib.parse import urlsplit

import anyio

from cnet.api.services.connection import Connection, ServiceGoneError
from cnet.errors import TransientError

CONNECT_TIMEOUT_S = 5.0
IDLE_S = 4.0
"""Shorter than the 5 s after which common servers close an idle connection: they seldom race us."""
MAX_CONNECTIONS = 1000
MAX_IDLE_PER_SERVICE = 64


class ConnectionPool:
    """At most `max_connections`, those in use included; idle ones are closed after `idle_s`."""

    def __init__(self, *, max_connections: int = MAX_CONNECTIONS, idle_s: float = IDLE_S) -> None:
        self._max_connections = max_connections
        self._idle_s = idle_s
        self._open: set[Connection] = set()
        self._connecting = 0
        self._idle: dict[str, list[Connection]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def size(self) -> int:
        """Connections that are open."""
        return len(self._open)

    @property
    def idle(self) -> int:
        """How many of them no request uses."""
        return sum(len(connections) for connections in self._idle.values())

    async def acquire(self, endpoint: str, *, fresh: bool = False) -> Connection:
        """A connection to `http://host:port` for one request; `fresh` passes over idle ones.

        Raises ServiceGoneError when none can be made, TransientError when too many are in use.
        """
        host, port = _address(endpoint)
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        while not fresh and (connection := self._take_idle(authority)) is not None:
            if connection.is_quiet():
                return connection
            connection.close()
        if len(self._open) + self._connecting >= self._max_connections and not self._evict():
            raise TransientError(
                f"{self._max_connections} requests to services of this node are under way; "
                "ask again in a second",
                code="overloaded",
            )
        self._connecting += 1
        try:
            return await self._connect(host, port, authority)
        finally:
            self._connecting -= 1

    async def _connect(self, host: str, port: int, authority: str) -> Connection:
        connection = Connection(authority)
        loop = asyncio.get_running_loop()
        try:
            with anyio.fail_after(CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: connection, host, port)
        except OSError as error:  # TimeoutError is one
            reason = error.strerror or f"no connection within {CONNECT_TIMEOUT_S:g} s"
            raise ServiceGoneError(
                f"does not answer at {authority} ({reason})", unsent=True
            ) from error
        self._open.add(connection)
        connection.ended.add_done_callback(lambda _: self._forget(connection))
        return connection

    def release(self, connection: Connection, *, keep: bool) -> None:
        """Give one back after its request; `keep` tells that all of the request went out."""
        idle = self._idle.get(connection.authority, [])
        if not (keep and connection.reusable) or len(idle) >= MAX_IDLE_PER_SERVICE:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.rest(loop.time())
        idle.append(connection)
        self._idle[connection.authority] = idle
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._idle_s, self._sweep, loop)

    def close(self) -> None:
        """Close the idle ones; those in use end with their requests."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        while self._evict():
            continue

    def _take_idle(self, authority: str) -> Connection | None:
        """The one used last: the others may become old and go."""
        idle = self._idle.get(authority)
        if idle is None:
            return None
        connection = idle.pop()
        if not idle:
            del self._idle[authority]
        return connection

    def _evict(self) -> bool:
        """Close the idle connection used longest ago; False when there is none."""
        if not self._idle:
            return False
        oldest = min((idle[0] for idle in self._idle.values()), key=lambda one: one.idle_since)
        self._forget(oldest)
        oldest.close()
        return True

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        idle = self._idle.get(connection.authority, [])
        if connection in idle:
            idle.remove(connection)
            if not idle:
                del self._idle[connection.authority]

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = None
        limit = loop.time() - self._idle_s
        while self._idle and (oldest := self._oldest()).idle_since <= limit:
            self._forget(oldest)
            oldest.close()
        if self._idle:
            due = self._oldest().idle_since + self._idle_s
            self._sweeper = loop.call_at(due, self._sweep, loop)

    def _oldest(self) -> Connection:
        return min((idle[0] for idle in self._idle.values()), key=lambda one: one.idle_since)


@lru_cache(maxsize=1024)
def _address(endpoint: str) -> tuple[str, int]:
    parts = urlsplit(endpoint)
    return parts.hostname or "localhost", parts.port or 80
