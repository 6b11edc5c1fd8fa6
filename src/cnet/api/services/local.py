"""One request carried to a replica on this node."""

from __future__ import annotations

import anyio
from anyio.abc import TaskGroup
from starlette.types import Scope

from cnet.api.services.connection import Connection, ServiceGoneError
from cnet.api.services.headers import answer_start, request_head
from cnet.api.services.pool import ConnectionPool
from cnet.api.services.streams import AnswerStream, RequestBody
from cnet.errors import CnetError, MalformedError


class LocalCall:
    """Sends the request and hands on the answer, each while the other is still under way."""

    def __init__(
        self, pool: ConnectionPool, scope: Scope, body: RequestBody, answer: AnswerStream
    ) -> None:
        self._pool = pool
        self._scope = scope
        self._body = body
        self._client = answer
        self._connection: Connection
        self._group: TaskGroup
        self._failure: CnetError | None = None
        self._sent = False
        self._released = False

    async def run(self, endpoint: str, target: bytes, prefix: bytes, *, fresh: bool) -> None:
        """Carry it; `target` is the path with its query, `prefix` where clients see the service.

        `fresh` asks for a connection that no request was sent on. Raises ServiceGoneError when
        there was no answer at all, BadGatewayError when it is unusable or breaks off,
        TransientError when too many requests are under way, ClientGoneError, and what reading the
        body raises.
        """
        self._connection = await self._pool.acquire(endpoint, fresh=fresh)
        try:
            self._begin(target, prefix)
            async with anyio.create_task_group() as self._group:
                self._group.start_soon(self._feed)
                await self._hand_on()
                self._group.cancel_scope.cancel()
        finally:
            self._release(keep=False)
        if self._failure is not None:
            if isinstance(self._failure, ServiceGoneError):
                self._failure.reused = self._connection.reused
            raise self._failure

    def _begin(self, target: bytes, prefix: bytes) -> None:
        body, connection = self._body, self._connection
        authority = connection.authority.encode("latin-1")
        head = request_head(self._scope, target, authority, prefix=prefix, length=body.length)
        content = _chunk(body.content) if body.length is None else body.content
        connection.begin(self._scope["method"])
        connection.write(head + content)
        self._sent = not body.more

    async def _feed(self) -> None:
        """Send what of the body is still to come, then watch for the client to leave."""
        try:
            if self._body.more:
                await self._stream()
            while True:
                await self._body.rest()
        except CnetError as error:
            self._end_with(error)

    async def _stream(self) -> None:
        body, connection = self._body, self._connection
        left = None if body.length is None else body.length - len(body.content)
        while body.more:
            message = await body.rest()
            data: bytes = message.get("body", b"")
            body.more = message.get("more_body", False)
            if left is None:
                connection.write(_chunk(data) if body.more else _chunk(data) + b"0\r\n\r\n")
            else:
                left -= len(data)
                if left < 0 or (left and not body.more):
                    raise MalformedError("body: its length is another than Content-Length says")
                connection.write(data)
            await connection.drain()
        self._sent = True

    async def _hand_on(self) -> None:
        try:
            head = await self._connection.head()
            await self._client.send(answer_start(head.status, head.headers))
            more = True
            while more:
                data, more = await self._connection.read()
                if not more:  # the client may ask again as soon as it has the answer
                    self._release(keep=self._sent)
                await self._client.send(
                    {"type": "http.response.body", "body": data, "more_body": more}
                )
        except CnetError as error:
            self._end_with(error)

    def _release(self, *, keep: bool) -> None:
        """Give the connection back, once: the next request may have it by now."""
        if not self._released:
            self._released = True
            self._pool.release(self._connection, keep=keep)

    def _end_with(self, error: CnetError) -> None:
        if self._failure is None:
            self._failure = error
        self._group.cancel_scope.cancel()


def _chunk(data: bytes) -> bytes:
    """One chunk; nothing for no data, which would be the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
