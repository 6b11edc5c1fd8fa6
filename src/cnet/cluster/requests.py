"""HTTP requests over a stream: an ASGI call becomes one here, and is made from one there.

A body that breaks off never looks like one that has ended: the caller gets UnreachableError, before
the head as an answer of 503, after it as a connection that is broken off.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import quote, unquote

import anyio
import anyio.lowlevel
import orjson
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cnet.cluster.streams import Stream
from cnet.cluster.wire import Head, Open
from cnet.errors import UnreachableError

log = structlog.get_logger(__name__)

Headers = tuple[tuple[str, str], ...]

HOP_BY_HOP = frozenset(
    {
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""RFC 9110, 7.6.1; `Expect` is answered by the server that the client speaks to."""
_NOT_SENT_ON = HOP_BY_HOP | {"authorization", "host"}
_INTERNAL_ERROR = {"error": "internal_error", "details": "an error of the agent; its log says more"}


async def call(stream: Stream, receive: Receive, send: Send) -> None:
    """Send the request's body, pass the reply on; the stream is over on return.

    Returns when whoever asked has gone. Raises UnreachableError as the module says, and what
    `receive` and `send` raise.
    """
    await _Call(stream, receive, send).run()


class _Call:
    def __init__(self, stream: Stream, receive: Receive, send: Send) -> None:
        self._stream = stream
        self._receive = receive
        self._send = send
        self._failure: Exception | None = None
        self._both = anyio.CancelScope()

    async def run(self) -> None:
        try:
            with self._both:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._guarded, self._upload)
                    await self._guarded(self._download)
                    self._both.cancel()
        finally:
            if self._stream.is_complete:
                self._stream.break_off("the reply is complete")  # before all of the request is sent
            else:
                self._stream.reset("whoever asked has gone")
        if self._failure is not None:
            raise self._failure

    async def _guarded(self, part: Callable[[], Awaitable[None]]) -> None:
        try:
            await part()
        except Exception as error:  # noqa: BLE001  raised again by `run`, outside of the task group
            self._failure = self._failure or error
            self._both.cancel()

    async def _upload(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                self._both.cancel()
                return
            await self._stream.write(message.get("body", b""))
            if not message.get("more_body", False):
                self._stream.finish()

    async def _download(self) -> None:
        head = await self._stream.head()
        headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in head.headers]
        await self._send({"type": "http.response.start", "status": head.status, "headers": headers})
        while True:
            data = await self._stream.read()
            await self._send({"type": "http.response.body", "body": data, "more_body": bool(data)})
            if not data:
                return


async def serve(stream: Stream, app: ASGIApp, scope: Scope) -> None:
    """Let an application answer; the stream is over on return. An error of it is logged."""
    reply = _Reply(stream)
    try:
        await app(scope, reply.receive, reply.send)
    except UnreachableError as error:
        stream.reset(error.message)
    except Exception as error:
        if reply.complete or stream.is_broken:
            # The application has answered (and logged) it itself, or nobody waits for an answer.
            log.debug("request_failed_late", path=scope["path"], error=repr(error))
        else:
            log.exception("request_failed", path=scope["path"])
            await reply.fail()
    finally:
        if not reply.complete:
            stream.reset("the reply was not completed")


class _Reply:
    """The server's half of an ASGI call."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._request_ended = False
        self._started = False
        self.complete = False

    async def receive(self) -> Message:
        if self._request_ended:
            await self._stream.until_over()
            return {"type": "http.disconnect"}
        try:
            data = await self._stream.read()
        except UnreachableError:
            return {"type": "http.disconnect"}
        self._request_ended = not data
        return {"type": "http.request", "body": data, "more_body": bool(data)}

    async def send(self, message: Message) -> None:
        """What is said to someone who has gone is dropped, as by a server."""
        if message["type"] == "http.response.start":
            self._started = True
            headers = sendable(message.get("headers", ()), HOP_BY_HOP)
            self._stream.begin(Head(self._stream.number, message["status"], headers))
            return
        if message["type"] != "http.response.body":
            raise RuntimeError(f"{message['type']} cannot be sent over a link")
        try:
            await self._stream.write(message.get("body", b""))
        except UnreachableError:
            # An endless body that nothing else holds up must still let `receive` tell it to end.
            await anyio.lowlevel.checkpoint()
            return
        if not message.get("more_body", False):
            self.complete = True
            self._stream.finish()

    async def fail(self) -> None:
        if not self._started:
            headers = [(b"content-type", b"application/json")]
            await self.send({"type": "http.response.start", "status": 500, "headers": headers})
            await self.send({"type": "http.response.body", "body": orjson.dumps(_INTERNAL_ERROR)})


def sendable(headers: Iterable[tuple[bytes, bytes]], left_out: frozenset[str]) -> Headers:
    """Headers that may cross a link: neither `left_out` nor what `Connection` names."""
    pairs = [(k.decode("latin-1").lower(), v.decode("latin-1")) for k, v in headers]
    named = {
        name.strip().lower()
        for key, value in pairs
        if key == "connection"
        for name in value.split(",")
    }
    return tuple((k, v) for k, v in pairs if k not in left_out and k not in named)


def request_headers(scope: Scope, to: str) -> Headers:
    """The headers of a request, addressed to the node and without credentials of this hop."""
    return (("host", to), *sendable(scope["headers"], _NOT_SENT_ON))


def target_of(scope: Scope) -> str:
    """The percent-encoded path; made anew where the application was mounted or rewrote it."""
    raw, path = scope.get("raw_path"), scope["path"]
    if raw is not None:
        sent: str = raw.decode("latin-1")
        if unquote(sent) == path:
            return sent
    return quote(path, safe="/:@!$&'()*+,;=~")


def scope_of(opened: Open, *, link: str) -> Scope:
    """The ASGI scope of a request that came over the link to `link`.

    Beyond ASGI's own: `cnet.link` the linked agent, `cnet.source` the agent where the request
    entered, `cnet.path` all it has passed.
    """
    return {
        "type": "http",
        # 2.3: a reply to someone who has gone is dropped, and `receive` tells of it.
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": opened.method,
        "scheme": "http",
        "path": unquote(opened.target),
        "raw_path": opened.target.encode("latin-1", "replace"),
        "query_string": opened.query.encode("latin-1", "replace"),
        "root_path": "",
        "headers": [
            (k.encode("latin-1", "replace"), v.encode("latin-1", "replace"))
            for k, v in opened.headers
        ],
        "client": None,
        "server": None,
        "state": {},
        "extensions": {},
        "cnet.link": link,
        "cnet.source": opened.path[0],
        "cnet.path": opened.path,
    }
