"""The application in front of the agent's own: everything below `/services/` goes to a service.

It is bare ASGI: what a framework costs for one request is more than all of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cnet.api.errors import error_response
from cnet.api.services.connection import ServiceGoneError
from cnet.api.services.headers import CARRIED, NO_REPLICA, carried_headers
from cnet.api.services.local import LocalCall
from cnet.api.services.pool import ConnectionPool
from cnet.api.services.replicas import Carrier, Directory, Outstanding, Replica
from cnet.api.services.streams import AnswerStream, ClientGoneError, RequestBody
from cnet.errors import (
    BadGatewayError,
    CnetError,
    NotFoundError,
    TransientError,
    UnreachableError,
)

log = structlog.get_logger(__name__)

PREFIX = "/services/"

BAD_GATEWAY = 502

_RAW_PREFIX = PREFIX.encode()
_IDEMPOTENT = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"})  # RFC 9110 9.2.2
_SHOWN_NAMES = 20


@dataclass(frozen=True, slots=True)
class _Request:
    """One request below the prefix; paths are as the client wrote them."""

    scope: Scope
    name: str
    prefix: bytes
    rest: bytes
    body: RequestBody
    answer: AnswerStream

    @property
    def carried(self) -> bool:
        """Whether another agent has sent it on."""
        return any(name == CARRIED for name, _ in self.scope["headers"])

    @property
    def target(self) -> bytes:
        """What a service on this node is asked for."""
        query: bytes = self.scope.get("query_string", b"")
        return b"%b?%b" % (self.rest, query) if query else self.rest

    def may_be_repeated(self, *, unsent: bool) -> bool:
        """Whether sending it again can do no harm, and is still possible."""
        harmless = unsent or self.scope["method"] in _IDEMPOTENT
        return harmless and not self.body.touched and not self.answer.started


class ServiceRoutes:
    """ASGI middleware; what is not below the prefix goes to `app`.

    A request goes to one of the ready replicas with the fewest requests under way. It is sent a
    second time, to another replica where there is one, only when nothing of an answer has come and
    either no byte went out or sending it twice does no harm.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        directory: Directory,
        carrier: Carrier,
        pool: ConnectionPool | None = None,
    ) -> None:
        self._app = app
        self._directory = directory
        self._carrier = carrier
        self._pool = pool or ConnectionPool()
        self._outstanding = Outstanding()

    @property
    def outstanding(self) -> Mapping[str, int]:
        """Workload id → requests that this agent has under way to it."""
        return self._outstanding.counts

    def close(self) -> None:
        """Close idle connections to services."""
        self._pool.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an answer that breaks off is left without its last message."""
        request = _parse(scope, receive, send) if scope["type"] == "http" else None
        if request is None:
            await self._app(scope, receive, send)
            return
        try:
            await request.body.take_in_hand()
            await self._serve(request)
        except ClientGoneError:
            return
        except _RefusedThereError as error:
            for message in error.answer:
                await request.answer.send(message)
        except CnetError as error:
            if isinstance(error, BadGatewayError):
                log.warning("service_failed", service=request.name, details=error.message)
            if not request.answer.started:
                answer = error_response(error)
                if request.carried:
                    answer.raw_headers.append((NO_REPLICA, b"1"))
                await answer(scope, receive, send)

    async def _serve(self, request: _Request) -> None:
        replica = self._choose(request)
        try:
            await self._call(request, replica)
        except (ServiceGoneError, UnreachableError) as error:
            unsent = isinstance(error, UnreachableError) or error.unsent
            if not request.may_be_repeated(unsent=unsent):
                raise
            await self._call(request, self._choose(request, instead_of=replica), again=True)

    def _choose(self, request: _Request, instead_of: Replica | None = None) -> Replica:
        replicas = self._directory.replicas(request.name)
        if request.carried:  # an agent that knows better than ours, or a circle
            replicas = [replica for replica in replicas if replica.endpoint is not None]
        if not replicas:
            raise self._nobody(request)
        if instead_of is not None:
            tried = instead_of.workload_id
            replicas = [one for one in replicas if one.workload_id != tried] or replicas
        return self._outstanding.least(replicas)

    def _nobody(self, request: _Request) -> CnetError:
        name = request.name
        if (reason := self._directory.absence(name)) is not None:
            return TransientError(f"service {name!r} has no ready replica: {reason}")
        if request.carried:
            return TransientError(f"service {name!r} is no longer on this node")
        names = sorted(self._directory.names())
        shown = ", ".join(names[:_SHOWN_NAMES]) or "none"
        more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
        return NotFoundError(f"no service {name!r}; there are: {shown}{more}")

    async def _call(self, request: _Request, replica: Replica, *, again: bool = False) -> None:
        """One try; a failure names the replica."""
        try:
            with self._outstanding.one(replica.workload_id):
                if replica.endpoint is None:
                    await self._carry(request, replica)
                else:
                    call = LocalCall(self._pool, request.scope, request.body, request.answer)
                    await call.run(replica.endpoint, request.target, request.prefix, fresh=again)
        except BadGatewayError as error:
            error.message = (
                f"service {request.name!r}: workload {replica.workload_id} on node "
                f"{replica.node_id} {error.message}"
            )
            raise

    async def _carry(self, request: _Request, replica: Replica) -> None:
        """Hand it to the agent of another node, whose own routes take it on."""
        app = self._carrier.app_for(replica.node_id)
        raw_path = b"%b%b%b" % (_RAW_PREFIX, quote(replica.workload_id).encode(), request.rest)
        scope = {
            **request.scope,
            "path": unquote(raw_path.decode("latin-1")),
            "raw_path": raw_path,
            "headers": carried_headers(request.scope, request.prefix),
        }
        source = _Replay(request.body)
        sink = _Sink(request.answer)
        try:
            await app(scope, source.receive, sink.send)
        except UnreachableError as error:
            if request.answer.started:
                raise BadGatewayError(f"broke off its answer ({error.message})") from error
            raise ServiceGoneError(f"is out of reach ({error.message})", unsent=False) from error
        if source.client_gone:
            raise ClientGoneError("the client has closed the connection")
        if sink.refusal:
            raise _RefusedThereError(sink.refusal)
        if not request.answer.started:
            raise ServiceGoneError("gave no answer", unsent=False)


class _RefusedThereError(ServiceGoneError):
    """The other agent answered in the place of its replica; `answer` is what it said."""

    def __init__(self, answer: list[Message]) -> None:
        status = answer[0]["status"]
        super().__init__(f"is not served there now ({status})", unsent=status != BAD_GATEWAY)
        self.answer = answer


class _Sink:
    """A `send` that keeps back what the other agent says in place of a replica."""

    def __init__(self, answer: AnswerStream) -> None:
        self._answer = answer
        self.refusal: list[Message] = []

    async def send(self, message: Message) -> None:
        marked = message["type"] == "http.response.start" and any(
            name == NO_REPLICA for name, _ in message["headers"]
        )
        if marked or self.refusal:
            self.refusal.append(message)
        else:
            await self._answer.send(message)


class _Replay:
    """A `receive` that begins with what is in hand."""

    def __init__(self, body: RequestBody) -> None:
        self._body = body
        self._in_hand = bool(body.content) or not body.more
        self.client_gone = False

    async def receive(self) -> Message:
        if self._in_hand:
            self._in_hand = False
            return {
                "type": "http.request",
                "body": self._body.content,
                "more_body": self._body.more,
            }
        try:
            message = await self._body.rest()
        except ClientGoneError:
            self.client_gone = True
            return {"type": "http.disconnect"}
        if not message.get("more_body", False):
            self._body.more = False
        return message


def _parse(scope: Scope, receive: Receive, send: Send) -> _Request | None:
    """None when the path is not below the prefix."""
    if not scope["path"].startswith(PREFIX):
        return None
    raw_path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    if not raw_path.startswith(_RAW_PREFIX):  # %73ervices is a path of its own
        return None
    raw_name, slash, rest = raw_path[len(_RAW_PREFIX) :].partition(b"/")
    return _Request(
        scope=scope,
        name=unquote(raw_name.decode("latin-1")),
        prefix=_RAW_PREFIX + raw_name,
        rest=slash + rest or b"/",
        body=RequestBody(scope, receive),
        answer=AnswerStream(send),
    )
