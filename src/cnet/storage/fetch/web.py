"""One GET of a URL that somebody else chose.

Only addresses that are public are connected to, unless others are allowed. It is the connection's
own address that is judged, again at every redirect: names may lead anywhere, and elsewhere the next
time they are asked.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import anyio
import httpcore
import httpx

import cnet
from cnet.errors import ForbiddenError, NotFoundError, SpecError, TooLargeError, TransientError
from cnet.storage.fetch.addresses import is_public

FIELD = "config.source_url"
MAX_REDIRECTS = 5
CONNECT_S = 15.0
READ_S = 60.0
"""Silence after which a source is given up."""
_REDIRECTS = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_TIMEOUTS = {"connect": CONNECT_S, "read": READ_S, "write": READ_S, "pool": CONNECT_S}

Resolve = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A source that is being read."""

    content_type: str | None
    body: AsyncIterator[bytes]


@asynccontextmanager
async def opened(
    url: str, *, allow_private: bool, max_bytes: int, resolve: Resolve | None = None
) -> AsyncIterator[Answer]:
    """The body of a URL, redirects followed.

    Raises ForbiddenError (`private_address`), NotFoundError, TooLargeError, SpecError, and
    TransientError when asking again may help. `resolve` is for tests.
    """
    target = require_http(url)
    backend = _GuardedBackend(allow_private=allow_private, resolve=resolve or _resolve)
    async with httpcore.AsyncConnectionPool(
        network_backend=backend, ssl_context=ssl.create_default_context(), retries=0
    ) as pool:
        for _ in range(MAX_REDIRECTS + 1):
            async with _asked(pool, target) as reply:
                if reply.status not in _REDIRECTS:
                    _check(reply, target, max_bytes)
                    yield Answer(_header(reply, b"content-type"), _body(reply, target, max_bytes))
                    return
                target = _next(target, _header(reply, b"location"))
    raise SpecError(f"{FIELD}: more than {MAX_REDIRECTS} redirects", field=FIELD)


def require_http(url: str) -> httpx.URL:
    """Raises SpecError for what is no URL of the web, or holds credentials."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise SpecError(f"{FIELD}: {url!r} is no URL: {error}", field=FIELD) from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise SpecError(
            f"{FIELD}: {url!r} must be http:// or https:// and name a host", field=FIELD
        )
    if parsed.userinfo:
        raise SpecError(f"{FIELD}: must not hold credentials; replies show it", field=FIELD)
    return parsed


@asynccontextmanager
async def _asked(
    pool: httpcore.AsyncConnectionPool, target: httpx.URL
) -> AsyncIterator[httpcore.Response]:
    headers = [
        (b"host", target.netloc),
        (b"accept", b"*/*"),
        (b"accept-encoding", b"identity"),
        (b"user-agent", f"cnet/{cnet.__version__}".encode()),
    ]
    url = httpcore.URL(
        scheme=target.raw_scheme,
        host=target.raw_host,
        port=target.port,
        target=target.raw_path,
    )
    with _failures(target):
        async with pool.stream(
            b"GET", url, headers=headers, extensions={"timeout": _TIMEOUTS}
        ) as reply:
            yield reply


class _failures:  # noqa: N801 - used like a function
    """Translates what the network does into errors of CNET."""

    def __init__(self, target: httpx.URL) -> None:
        self._target = target

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Raise the CNET error in the place of httpcore's."""
        known = (
            httpcore.NetworkError,
            httpcore.TimeoutException,
            httpcore.ProtocolError,
            OSError,
        )
        if isinstance(error, known):
            said = str(error) or type(error).__name__
            raise TransientError(
                f"{FIELD}: {self._target.host}: {said}", code="source_unreachable"
            ) from error


def _check(reply: httpcore.Response, target: httpx.URL, max_bytes: int) -> None:
    if reply.status != HTTPStatus.OK:
        sentence = f"{FIELD}: {target.host} answered {reply.status}"
        if reply.status in _GONE:
            raise NotFoundError(sentence, code="source_not_found")
        if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR or reply.status in {408, 425, 429}:
            raise TransientError(sentence, code="source_unreachable")
        raise SpecError(sentence, field=FIELD, code="source_refused")
    encoding = _header(reply, b"content-encoding")
    if encoding not in {None, "", "identity"}:
        raise SpecError(
            f"{FIELD}: {target.host} sends {encoding!r} content, which was not asked for",
            field=FIELD,
            code="source_refused",
        )
    length = _header(reply, b"content-length") or ""
    if length.isdigit() and int(length) > max_bytes:
        raise TooLargeError(
            f"{FIELD}: {length} bytes; at most {max_bytes} are taken (storage.max_object_bytes)"
        )


async def _body(
    reply: httpcore.Response, target: httpx.URL, max_bytes: int
) -> AsyncIterator[bytes]:
    with _failures(target):
        async for chunk in reply.aiter_stream():
            yield chunk


def _next(target: httpx.URL, location: str | None) -> httpx.URL:
    if not location:
        raise SpecError(
            f"{FIELD}: {target.host} redirects to nowhere", field=FIELD, code="source_refused"
        )
    following = require_http(str(target.join(location)))
    if target.scheme == "https" and following.scheme != "https":
        raise SpecError(
            f"{FIELD}: {target.host} redirects from https to http",
            field=FIELD,
            code="source_refused",
        )
    return following


def _header(reply: httpcore.Response, name: bytes) -> str | None:
    values = [value for key, value in reply.headers if key.lower() == name]
    return values[0].decode("latin-1").strip() if values else None


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Resolves by itself and connects to the very address it has judged."""

    def __init__(self, *, allow_private: bool, resolve: Resolve) -> None:
        self._inner = httpcore.AnyIOBackend()
        self._allow_private = allow_private
        self._resolve = resolve

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises ForbiddenError when the name leads to no public address."""
        failure: Exception | None = None
        for address in await self._resolve(host, port):
            if not (self._allow_private or is_public(address)):
                failure = failure or ForbiddenError(
                    f"{FIELD}: {host} is {address}, which is not public; the node's operator may "
                    "allow that with storage.allow_private_urls",
                    code="private_address",
                )
                continue
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """No URL leads to one."""
        raise httpcore.UnsupportedProtocol("unix sockets are not fetched from")

    async def sleep(self, seconds: float) -> None:
        """Between tries."""
        await anyio.sleep(seconds)


async def _resolve(host: str, port: int) -> list[str]:
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
