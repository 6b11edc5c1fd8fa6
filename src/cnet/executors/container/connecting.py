"""Connections to an engine without the client library: to ask whether it answers, and to speak
with a command that it runs."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream

from cnet.executors.container.tls import TlsStream

UNIX = "unix://"
_MAX_HEAD_BYTES = 65_536
_END_OF_HEAD = b"\r\n\r\n"
_TAKEN_OVER = frozenset({101, 200})


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine listens: `unix:///path` or `tcp://host:port`, and how TLS is spoken there."""

    url: str
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return self.url

    @property
    def socket(self) -> str | None:
        """The path of its socket; None where it listens on a port."""
        return self.url.removeprefix(UNIX) if self.url.startswith(UNIX) else None


class RefusedError(Exception):
    """The engine has answered with an error; `status` as in HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


async def connect(address: Address) -> ByteStream:
    """Raises OSError; ssl.SSLError is one."""
    if address.socket is not None:
        return await anyio.connect_unix(address.socket)
    parts = urlsplit(address.url)
    host, port = parts.hostname or "", parts.port or 0
    raw = await anyio.connect_tcp(host, port)
    if address.tls is None:
        return raw
    stream = TlsStream(raw, address.tls, host)
    try:
        await stream.handshake()
    except BaseException:
        await anyio.aclose_forcefully(raw)
        raise
    return stream


@asynccontextmanager
async def taken_over(
    address: Address, path: str, body: Mapping[str, Any]
) -> AsyncIterator[tuple[ByteStream, bytes]]:
    """POST a body; the connection, which is no HTTP from then on, and what has come over it.

    Raises RefusedError, OSError, anyio.EndOfStream and anyio.BrokenResourceError.
    """
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    )
    async with await connect(address) as stream:
        await stream.send(head.encode() + content)
        status, headers, rest = await _answer(stream)
        if status not in _TAKEN_OVER:
            raise RefusedError(status, await _message(stream, headers, rest))
        yield stream, rest


async def _answer(stream: ByteStream) -> tuple[int, dict[str, str], bytes]:
    data = b""
    while _END_OF_HEAD not in data:
        if len(data) > _MAX_HEAD_BYTES:
            raise RefusedError(502, "the engine's answer has no end")
        data += await stream.receive()
    head, _, rest = data.partition(_END_OF_HEAD)
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    status = first.split(" ", 2)[1:2]
    if not status or not status[0].isdecimal():
        raise RefusedError(502, "the engine's answer is not HTTP")
    return int(status[0]), headers, rest


async def _message(stream: ByteStream, headers: Mapping[str, str], rest: bytes) -> str:
    length = headers.get("content-length", "")
    while length.isdecimal() and len(rest) < min(int(length), _MAX_HEAD_BYTES):
        rest += await stream.receive()
    try:
        return str(json.loads(rest)["message"]).strip()
    except (ValueError, KeyError, TypeError):
        return rest.decode(errors="replace").strip() or "no reason given"
