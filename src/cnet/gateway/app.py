"""The gateway as an ASGI application: who asks, what for, and how the answer leaves."""

from __future__ import annotations

import itertools
import logging
import secrets
from typing import Any

from cnet.errors import CnetError, NotFoundError
from cnet.gateway import routes
from cnet.gateway.authentication import Authenticator
from cnet.gateway.errors import S3Error, from_store
from cnet.gateway.payload import ClientGoneError, Payload
from cnet.gateway.replies import FilePart, Reply, error_reply
from cnet.gateway.service import Call, Gateway, check_owner
from cnet.gateway.transport import EXTENSION, FileSender
from cnet.gateway.wire import Receive, Scope, Send, WireRequest, split_path

_LOGGER = logging.getLogger(__name__)

# Up to here the bytes go through this process; sendfile costs a thread.
_SMALL = 64 * 1024
_ATTEMPTS = 5
_CLOSE = (b"connection", b"close")


class GatewayApp:
    """Answers every request with what S3 would say, and `/health`."""

    def __init__(self, gateway: Gateway, authenticator: Authenticator) -> None:
        self._gateway = gateway
        self._authenticator = authenticator
        self._run = secrets.token_hex(4).upper()
        self._count = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        if scope["type"] != "http":
            return
        request_id = f"{self._run}{next(self._count):08X}"
        exchange = _Exchange(scope, send, request_id)
        if scope["raw_path"] == b"/health" and scope["method"] in ("GET", "HEAD"):
            await exchange.send(Reply(200, [(b"content-type", b"text/plain")], b"ok\n"))
            return
        try:
            await self._answer(exchange, scope, receive)
        except ClientGoneError:
            return
        except S3Error as error:
            await exchange.fail(error)
        except CnetError as error:
            told = from_store(error)
            if told.status == 500:
                _LOGGER.exception("%s %s failed", scope["method"], request_id)
            await exchange.fail(told)
        except Exception:
            if exchange.started:
                raise
            _LOGGER.exception("%s %s failed", scope["method"], request_id)
            await exchange.fail(S3Error("InternalError"))

    async def _answer(self, exchange: _Exchange, scope: Scope, receive: Receive) -> None:
        request = WireRequest.of(scope)
        if request.method == "OPTIONS":
            raise _preflight(request)
        caller = self._authenticator.authenticate(request)
        exchange.payload = payload = Payload(request, receive, caller.signed)
        bucket, key = split_path(request.raw_path)
        operation = routes.find(request, has_bucket=bucket is not None, has_key=key is not None)
        if operation.writes:
            self._gateway.check_write(caller)
        if bucket is not None:
            self._gateway.check_bucket(caller, bucket)
            check_owner(request)
        if not operation.takes_body:
            await payload.expect_none()
        call = Call(self._gateway, request, caller, payload, bucket, key)
        for attempt in range(1, _ATTEMPTS + 1):
            reply = await operation.handler(call)
            if not isinstance(reply.body, FilePart) or request.method == "HEAD":
                await exchange.send(reply)
                return
            try:
                await exchange.send_file(self._gateway, reply, reply.body)
            except NotFoundError:
                # Replaced between looking it up and opening it; what replaced it is looked up now.
                if exchange.started or attempt == _ATTEMPTS:
                    raise
            else:
                return


class _Exchange:
    """One reply on its way out."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id
        self.payload: Payload | None = None
        self.started = False

    async def send(self, reply: Reply) -> None:
        """A reply whose body is in memory; HEAD gets its headers."""
        body = reply.body
        length = len(body) if isinstance(body, bytes) else body.length
        await self._start(reply, length)
        sent = b"" if self._scope["method"] == "HEAD" or not isinstance(body, bytes) else body
        await self._send({"type": "http.response.body", "body": sent})

    async def fail(self, error: S3Error) -> None:
        """The reply for an error, if there can still be one."""
        if self.started:
            _LOGGER.warning("%s broke off: %s", self._request_id, error)
            raise error
        resource = self._scope["raw_path"].decode("ascii", "replace")
        reply = error_reply(error, resource=resource, request_id=self._request_id)
        if (self.payload is None or not self.payload.asked_for) and self._expects():
            # The client waits to be asked for a body that nobody will read on this connection.
            reply.headers.append(_CLOSE)
        await self.send(reply)

    async def send_file(self, gateway: Gateway, reply: Reply, part: FilePart) -> None:
        """A reply whose body is in the store. NotFoundError before anything was sent."""
        if part.length == 0:
            await self.send(Reply(reply.status, reply.headers))
            return
        if part.length <= _SMALL:
            at_hand = gateway.store.at_hand(part.file, part.start, part.length)
            if at_hand is not None:
                await self.send(Reply(reply.status, reply.headers, at_hand))
                return
        sender: FileSender | None = (self._scope.get("extensions") or {}).get(EXTENSION)
        if part.length > _SMALL and sender is not None:
            extents = gateway.store.extents(part.file, part.start, part.length)
            if extents is not None:
                async with extents as opened:
                    await self._start(reply, part.length)
                    if await sender.send(opened):
                        await self._send({"type": "http.response.body", "body": b""})
                return
        async with gateway.store.open(part.file, part.start, part.length) as content:
            # The first piece comes before the headers: what is damaged is an error, not a break.
            held = await anext(content)
            await self._start(reply, part.length)
            left = part.length - len(held)
            await self._send(_piece(held, more=left > 0))
            while left > 0:
                held = await anext(content)
                left -= len(held)
                await self._send(_piece(held, more=left > 0))

    async def _start(self, reply: Reply, length: int) -> None:
        headers = reply.headers
        headers.append((b"x-amz-request-id", self._request_id.encode()))
        if reply.status not in (204, 304):
            headers.append((b"content-length", str(length).encode()))
        self.started = True
        await self._send(
            {"type": "http.response.start", "status": reply.status, "headers": headers}
        )

    def _expects(self) -> bool:
        return any(name == b"expect" for name, _ in self._scope["headers"])


def _piece(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def _preflight(request: WireRequest) -> S3Error:
    if b"origin" not in request.headers:
        return S3Error("BadRequest", "Insufficient information. Origin request header needed.")
    return S3Error(
        "AccessForbidden",
        "CORSResponse: CORS is not enabled for this bucket.",
        extra={"Method": request.header(b"access-control-request-method") or ""},
    )
