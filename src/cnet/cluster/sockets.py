"""WebSockets of both makes, the one that was dialled and the one that a server hands over."""

from __future__ import annotations

import ssl
from contextlib import suppress
from functools import cache
from typing import Protocol
from urllib.parse import urlsplit

import anyio
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    WebSocketException,
)

import cnet
from cnet.cluster.wire import MAX_MESSAGE
from cnet.errors import ConfigError, UnreachableError

LINK_PATH = "/api/link"
CONNECT_S = 5.0
CLOSE_S = 0.5
"""Seconds that a polite goodbye may take."""
MAX_REASON_BYTES = 123  # RFC 6455, 5.5: control frames hold 125 bytes, two of them are the code


class SocketClosedError(ConnectionError):
    """The other end, or this one, closed the connection; the text says why where that is known."""


class Socket(Protocol):
    """An open WebSocket. One task may send and another receive at the same time."""

    @property
    def remote(self) -> tuple[str, int]:
        """IP address and port of the other end; empty and 0 when not known."""
        ...

    @property
    def secure(self) -> bool:
        """Whether it runs over TLS from here."""
        ...

    async def send(self, message: str | bytes) -> None:
        """Waits while the other end does not take what was sent before.

        Raises SocketClosedError.
        """
        ...

    async def receive(self) -> str | bytes:
        """The next message. Raises SocketClosedError."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye, for CLOSE_S at most, and let go; harmless when it is closed."""
        ...

    def abort(self) -> None:
        """Let go at once."""
        ...


class DialledSocket:
    """The client's end."""

    def __init__(self, connection: ClientConnection, *, secure: bool) -> None:
        self._connection = connection
        self.secure = secure
        peer = connection.remote_address
        self.remote: tuple[str, int] = (peer[0], peer[1]) if peer else ("", 0)

    async def send(self, message: str | bytes) -> None:
        """As in Socket."""
        try:
            await self._connection.send(message)
        except ConnectionClosed as error:
            raise SocketClosedError(_goodbye(error)) from None

    async def receive(self) -> str | bytes:
        """As in Socket."""
        try:
            return await self._connection.recv()
        except ConnectionClosed as error:
            raise SocketClosedError(_goodbye(error)) from None

    async def close(self, code: int, reason: str) -> None:
        """As in Socket."""
        with anyio.move_on_after(CLOSE_S, shield=True):
            await self._connection.close(code, _short(reason))
        self.abort()

    def abort(self) -> None:
        """As in Socket."""
        self._connection.transport.abort()


class AcceptedSocket:
    """The server's end, as ASGI has it. The connection ends when the application returns."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._closed = False
        client = scope.get("client") or ("", 0)
        self.remote: tuple[str, int] = (client[0], client[1])
        self.secure = scope.get("scheme") == "wss"

    async def accept(self) -> None:
        """Answer the upgrade. Raises SocketClosedError."""
        await self._receive()
        await self._pass_on({"type": "websocket.accept"})

    async def send(self, message: str | bytes) -> None:
        """As in Socket."""
        key = "text" if isinstance(message, str) else "bytes"
        await self._pass_on({"type": "websocket.send", key: message})

    async def receive(self) -> str | bytes:
        """As in Socket."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            self._closed = True
            raise SocketClosedError(message.get("reason") or "the other end closed the connection")
        text: str | None = message.get("text")
        data: bytes = message.get("bytes") or b""
        return text if text is not None else data

    async def close(self, code: int, reason: str) -> None:
        """As in Socket."""
        if self._closed:
            return
        with anyio.move_on_after(CLOSE_S, shield=True), suppress(SocketClosedError):
            await self._pass_on({"type": "websocket.close", "code": code, "reason": _short(reason)})
        self._closed = True

    def abort(self) -> None:
        """As in Socket."""
        self._closed = True

    async def _pass_on(self, message: dict[str, object]) -> None:
        try:
            await self._send(message)
        except (OSError, RuntimeError) as error:  # whichever the server has for a lost connection
            self._closed = True
            raise SocketClosedError(str(error) or "the connection is closed") from None


class _Connect(connect):
    """One that follows no redirects: our token goes to the configured address and nowhere else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def dial(url: str, *, token: str | None) -> DialledSocket:
    """Open a WebSocket to the link route of an agent; `url` as `link_url` makes it.

    Raises UnreachableError whose message says what is wrong.
    """
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    secure = url.startswith("wss:")
    try:
        connection = await _Connect(
            url,
            additional_headers=headers,
            user_agent_header=f"cnet/{cnet.__version__}",
            compression=None,
            proxy=None,
            ping_interval=None,
            open_timeout=CONNECT_S,
            close_timeout=CLOSE_S,
            max_size=MAX_MESSAGE,
            ssl=_tls() if secure else None,
        )
    except InvalidStatus as error:
        raise UnreachableError(
            f"{url}: {_refusal(error.response.status_code, error.response.body)}"
        ) from None
    except TimeoutError:
        raise UnreachableError(f"{url}: no answer within {CONNECT_S:g} s") from None
    except (OSError, InvalidHandshake, WebSocketException) as error:
        raise UnreachableError(f"{url}: {error or type(error).__name__}") from None
    return DialledSocket(connection, secure=secure)


@cache
def _tls() -> ssl.SSLContext:
    """Made once: it loads the certificate authorities, which takes 15 ms."""
    return ssl.create_default_context()


def link_url(address: str, key: str) -> str:
    """The link route of the agent at `host:port` or an http(s) or ws(s) URL.

    Raises ConfigError that names `key`, the setting that holds the address.
    """
    scheme, found, rest = address.partition("://")
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    try:
        parts = urlsplit(f"//{rest if found else address}")
        usable = bool(parts.hostname) and (not found or scheme.lower() in schemes)
        usable = usable and (parts.port is not None or bool(found))
    except ValueError:
        usable = False
    if not usable or parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise ConfigError(
            f"{key}: {address!r} is no address of an agent; allowed: host:port, or a URL of "
            "http, https, ws or wss with a host"
        )
    return f"{schemes[scheme.lower()] if found else 'ws'}://{parts.netloc}{LINK_PATH}"


def _refusal(status: int, body: bytes | bytearray | None) -> str:
    if status == 401:
        return "the token is refused (401)"
    words = " ".join((body or b"").decode("utf-8", "replace").split())[:200]
    return f"answered {status}" + (f": {words}" if words else "")


def _goodbye(error: ConnectionClosed) -> str:
    if error.rcvd is not None and error.rcvd.reason:
        return error.rcvd.reason
    return "the other end closed the connection"


def _short(reason: str) -> str:
    return reason.encode()[:MAX_REASON_BYTES].decode("utf-8", "ignore")
