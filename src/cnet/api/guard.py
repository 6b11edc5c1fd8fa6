"""Who may speak to the agent: the submit route runs commands, so nothing gets past this unasked.

Beyond loopback every request needs the token. On loopback none is needed, but browsers are kept
from being used against their owner: the Host must be a loopback name of this agent (no DNS
rebinding) and an Origin, if there is one, must be the agent's own (no post from another site).

A browser shows the token once, on the login page, and a session cookie from then on
(`cnet.api.sessions`). Browsers send cookies by themselves, so what changes something must then
come from a page of this agent, and say so.
"""

from __future__ import annotations

import hmac
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cnet._support import clock
from cnet.api.errors import error_response
from cnet.api.execs.frames import MEDIA_TYPE
from cnet.api.services.routes import PREFIX as SERVICES
from cnet.api.sessions import Sessions
from cnet.config import LOOPBACK_NAMES, is_loopback
from cnet.errors import AuthError, CnetError, ForbiddenError, TooLargeError

LOGIN = "/login"
STATIC = "/static/"
OPEN_PATHS = frozenset({"/api/health", LOGIN})
"""Answered to anyone who can reach the agent: load balancers and monitors carry no token, and who
is to type it in has none yet."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

MAX_STREAMED_BYTES = 16 * 1024**3
"""Bodies for services are streamed to them, not held, so they have a bound of their own."""

WORKLOADS = "/api/workloads"
DATA = "/api/data/"
_POLICY_VIOLATION = 1008  # RFC 6455 7.4.1


class _Limit(NamedTuple):
    bytes: int
    of: str


class Guard:
    """ASGI middleware; `token` is required of every request when it is not None."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        max_body_bytes: int,
        max_data_bytes: int | None = None,
        max_streamed_bytes: int = MAX_STREAMED_BYTES,
    ) -> None:
        self._app = app
        self._token = token.encode() if token is not None else None
        self._sessions = Sessions(token) if token is not None else None
        self._body = _Limit(max_body_bytes, "agent.max_body_bytes")
        self._data = _Limit(max_data_bytes or max_body_bytes, "storage.max_object_bytes")
        self._streamed = _Limit(max_streamed_bytes, "what is streamed to a service")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on with the body counted; a WebSocket before it is accepted."""
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        limit = self._limit(scope, headers)
        error = self._refusal(scope, headers) or _announces_more(headers, limit)
        if isinstance(error, AuthError) and _is_navigation(scope, headers):
            await RedirectResponse(_login_for(scope), 303)(scope, receive, send)
            return
        if error is not None:
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, _Counted(receive, limit).receive, _Patient(send).send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._refusal(scope, dict(scope["headers"]))
        if error is None:
            await self._app(scope, receive, send)
        elif "websocket.http.response" in (scope.get("extensions") or {}):
            await error_response(error)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> CnetError | None:
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin")
        if origin is not None and not _same_origin(origin.decode("latin-1"), host):
            return ForbiddenError(
                f"Origin: {origin.decode('latin-1')!r} is not this agent; requests from pages of "
                "other sites are refused"
            )
        if self._token is not None:
            path = scope["path"]
            if path in OPEN_PATHS or path.startswith(STATIC) or self._has_token(headers):
                return None
            if self._has_session(headers):
                return None if _is_from_own_page(scope, headers) else _foreign()
            return AuthError(
                "Authorization: a bearer token is needed here; `cnet init` made it on the agent's "
                "machine, CNET_TOKEN hands it to the command line"
            )
        if not _is_loopback_host(host):
            return ForbiddenError(
                f"Host: {host!r} is not a loopback name of this agent; allowed: "
                + ", ".join(sorted(LOOPBACK_NAMES))
            )
        return None

    def _has_token(self, headers: dict[bytes, bytes]) -> bool:
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        return (
            self._token is not None
            and scheme.lower() == b"bearer"
            and hmac.compare_digest(given.strip(), self._token)
        )

    def _has_session(self, headers: dict[bytes, bytes]) -> bool:
        cookies = headers.get(b"cookie", b"").decode("latin-1")
        return self._sessions is not None and self._sessions.holds(cookies, clock.now())

    def _limit(self, scope: Scope, headers: dict[bytes, bytes]) -> _Limit:
        path = scope["path"]
        if path.startswith(SERVICES):
            return self._streamed
        content_type = headers.get(b"content-type", b"").lower()
        if content_type == MEDIA_TYPE.encode() and path.startswith(WORKLOADS):
            return self._streamed
        is_form = content_type.startswith(b"multipart/form-data")
        if (path == WORKLOADS and is_form) or (path.startswith(DATA) and scope["method"] == "PUT"):
            return self._data
        return self._body


class _Patient:
    """A `send` that drops what is said to a connection that was closed a moment ago.

    uvicorn does so itself as soon as it hears of the loss; uvloop raises in the turn before that,
    and the log would be at the mercy of every client that hangs up early.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._closed = False

    async def send(self, message: Message) -> None:
        if self._closed:
            return
        try:
            await self._send(message)
        except RuntimeError as error:
            if "handler is closed" not in str(error):
                raise
            self._closed = True


class _Counted:
    """A `receive` that raises TooLargeError once the body is over the limit."""

    def __init__(self, receive: Receive, limit: _Limit) -> None:
        self._receive = receive
        self._limit = limit
        self._seen = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self._limit.bytes:
                raise _too_large(self._limit)
        return message


def _announces_more(headers: dict[bytes, bytes], limit: _Limit) -> CnetError | None:
    length = headers.get(b"content-length", b"")
    return _too_large(limit) if length.isdigit() and int(length) > limit.bytes else None


def _too_large(limit: _Limit) -> TooLargeError:
    return TooLargeError(f"body: larger than {limit.bytes} bytes ({limit.of})")


def _is_from_own_page(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Whether it changes nothing, or a browser says that a page of this agent asks for it.

    An Origin has been compared with the Host before this.
    """
    if scope["type"] == "http" and scope["method"] in SAFE_METHODS:
        return True
    return b"origin" in headers or headers.get(b"sec-fetch-site") == b"same-origin"


def _foreign() -> ForbiddenError:
    return ForbiddenError(
        "Origin: a change that is asked for by a session cookie must come from a page of this agent"
    )


def _is_navigation(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Whether a person has gone to an address with a browser."""
    return scope["method"] in {"GET", "HEAD"} and b"text/html" in headers.get(b"accept", b"")


def _login_for(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    return f"{LOGIN}?{urlencode({'next': scope['path'] + (f'?{query}' if query else '')})}"


def _is_loopback_host(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)


def _same_origin(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.netloc.lower() == host.lower() != ""
