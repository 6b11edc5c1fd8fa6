"""One HTTP connection pool to one base URL; every failure leaves as a class of `cnet.errors`.

Knows nothing of workloads. Proxies and .netrc of the environment are not used: an agent on
loopback must never be looked for behind a proxy, and only our own token may be sent.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from cnet.client.replies import error_from
from cnet.errors import SpecError, TransientError, UnreachableError

CONNECT_TIMEOUT_S = 5.0

# A stream may be quiet for hours, so it has no read timeout; keepalive probes tell a quiet agent
# from one whose machine is gone (within 15 + 3 × 5 seconds).
_SOCKET_OPTIONS = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
]


class Transport:
    """Requests relative to `url`. May be used from several threads at once."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None,
        timeout_s: float,
        hint: str,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`hint` says what to try when nothing answers; `transport` is for tests.

        Raises SpecError when `url` is no http(s) URL.
        """
        self.url = _checked_url(url)
        self._timeout_s = timeout_s
        self.hint = hint
        self.token = token
        headers = {"Accept": "application/json", "User-Agent": "cnet-client"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self._http = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
            transport=transport or _transport(self.url),
            trust_env=False,
        )

    def request(
        self, method: str, path: str, *, timeout_s: float | None = None, **options: Any
    ) -> httpx.Response:
        """Send one request and read the whole reply; `timeout_s` replaces the usual one.

        Raises the error that an unsuccessful reply carries, UnreachableError when no connection
        could be made or it broke, TransientError when the answer is late.
        """
        with self._failures(timeout_s or self._timeout_s):
            reply = self._http.request(method, path, timeout=self._limits(timeout_s), **options)
        if not reply.is_success:
            raise error_from(reply)
        return reply

    @contextmanager
    def stream(
        self, path: str, *, read_timeout_s: float | None, **options: Any
    ) -> Iterator[httpx.Response]:
        """Open a GET whose body is read as it comes; errors as in `request`."""
        limits = httpx.Timeout(self._timeout_s, connect=CONNECT_TIMEOUT_S, read=read_timeout_s)
        with (
            self._failures(read_timeout_s or self._timeout_s),
            self._http.stream("GET", path, timeout=limits, **options) as reply,
        ):
            if not reply.is_success:
                reply.read()
                raise error_from(reply)
            yield reply

    def close(self) -> None:
        """Close all connections; streams still open end with an error."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _limits(self, timeout_s: float | None) -> httpx.Timeout:
        timeout_s = timeout_s or self._timeout_s
        return httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s))

    @contextmanager
    def _failures(self, timeout_s: float) -> Iterator[None]:
        """Translate httpx's failures; this is the only place that knows them."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise UnreachableError(
                f"nothing answers at {self.url} ({_reason(error)}); {self.hint}"
            ) from error
        except httpx.TimeoutException as error:
            raise TransientError(
                f"{self.url} did not answer within {timeout_s:g} s", code="timeout"
            ) from error
        except httpx.TransportError as error:
            raise UnreachableError(
                f"the connection to {self.url} broke ({_reason(error)}); {self.hint}"
            ) from error


def _transport(url: str) -> httpx.BaseTransport:
    # Loading the certificate authorities takes 15 ms, more than all else; http:// needs none (and
    # with an empty context nothing else would be trusted either).
    verify = True if url.startswith("https://") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.HTTPTransport(verify=verify, socket_options=_SOCKET_OPTIONS)


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise SpecError(f"{url!r} is no URL: {error}", field="url") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise SpecError(
            f"{url!r} is no URL of an agent or service: it must start with http:// or https:// "
            "and name a host, as in http://127.0.0.1:8080",
            field="url",
        )
    return url.rstrip("/")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
