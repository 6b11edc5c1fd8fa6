"""The application in front of the agent's own: everything below `/services/` goes to a service.

It is bare ASGI: what a framework costs for one request is more than all of this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

import anyio
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cnet.api.errors import error_response
from cnet.api.services.choosing import AVOID_S, Choosing
from cnet.api.services.connection import ServiceGoneError
from cnet.api.services.counting import Counting
from cnet.api.services.headers import (
    CARRIED,
    NO_REPLICA,
    ONCE_MORE,
    TO_THE_END,
    carried_headers,
)
from cnet.api.services.local import LocalCall
from cnet.api.services.pool import ConnectionPool
from cnet.api.services.replicas import Carrier, Directory, Outstanding, Replica, Routed
from cnet.api.services.streams import AnswerStream, ClientGoneError, Kept, RequestBody
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

TRIES = 2
TRIES_OF_SERVICES = 4
MAX_HELD = 1000
"""Requests that wait for replicas at a time, in one agent."""
WAKE_AGAIN_S = 0.5
"""Between two words to the owner of a service that requests wait for."""


@dataclass(slots=True)
class _Request:
    """One request below the prefix; paths are as the client wrote them."""

    scope: Scope
    name: str
    prefix: bytes
    rest: bytes
    body: RequestBody
    answer: AnswerStream
    routed: Routed | None = None
    """the service of that name, where an agent owns one"""

    @property
    def carried(self) -> bytes | None:
        """How another agent has sent it on, if one has."""
        for name, value in self.scope["headers"]:
            if name == CARRIED:
                return bytes(value)
        return None

    @property
    def target(self) -> bytes:
        """What a service on this node is asked for."""
        query: bytes = self.scope.get("query_string", b"")
        return b"%b?%b" % (self.rest, query) if query else self.rest

    def may_be_repeated(self, *, unsent: bool) -> bool:
        """Whether sending it again can do no harm, and is still possible."""
        retry = self.routed is not None and self.routed.retry
        harmless = unsent or retry or self.scope["method"] in _IDEMPOTENT
        return harmless and not self.body.touched and not self.answer.started


class ServiceRoutes:
    """ASGI middleware; what is not below the prefix goes to `app`.

    A request goes to one of the ready replicas with the fewest requests under way, of a version
    that is chosen by weight. It is sent again, to another replica where there is one, only when the
    client has got nothing of an answer and either no byte went out or sending it twice does no
    harm. While a service has no ready replica, its requests wait for one.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        directory: Directory,
        carrier: Carrier,
        pool: ConnectionPool | None = None,
        counting: Counting | None = None,
        wake: Callable[[str, str], None] = lambda _owner, _name: None,
    ) -> None:
        """`wake` tells the owner of a service that a request waits for it."""
        self._app = app
        self._directory = directory
        self._carrier = carrier
        self._pool = pool or ConnectionPool()
        self._wake = wake
        self._outstanding = Outstanding()
        self._choosing = Choosing(self._outstanding)
        self._kept = Kept()
        self.counting = counting or Counting()

    @property
    def outstanding(self) -> Mapping[str, int]:
        """Workload id → requests that this agent has under way to it."""
        return self._outstanding.counts

    async def until_idle(self, workload_id: str) -> None:
        """Return when this agent has no request under way to a workload."""
        await self._outstanding.until_idle(workload_id)

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
            if request.carried is None:
                request.routed = self._directory.routed(request.name)
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
                if request.carried is not None:
                    answer.raw_headers.append((NO_REPLICA, b"1"))
                await answer(scope, receive, send)

    async def _serve(self, request: _Request) -> None:
        if request.routed is None:
            await self._try(request, tries=TRIES)
            return
        name = request.name
        try:
            if request.routed.retry:
                async with request.body.kept_whole(self._kept):
                    await self._try(request, tries=TRIES_OF_SERVICES)
            else:
                await self._try(request, tries=TRIES_OF_SERVICES)
        except ClientGoneError:
            raise
        except CnetError:
            self.counting.unanswered[name] += 1
            raise

    async def _try(self, request: _Request, *, tries: int) -> None:
        tried: set[str] = set()
        again = False
        while True:
            replica = await self._choose(request, tried)
            try:
                return await self._call(request, replica, again=again)
            except (BadGatewayError, UnreachableError) as error:
                tries -= 1
                # A kept connection may have been closed for its age alone.
                if not (isinstance(error, ServiceGoneError) and error.reused):
                    self._choosing.avoid(replica, anyio.current_time())
                    tried.add(replica.workload_id)
                if not tries or not self._may_repeat(request, error):
                    raise
                again = True
                request.answer.discard()
                self.counting.repeated[request.name] += request.routed is not None

    @staticmethod
    def _may_repeat(request: _Request, error: BadGatewayError | UnreachableError) -> bool:
        if isinstance(error, ServiceGoneError | UnreachableError):
            unsent = isinstance(error, UnreachableError) or error.unsent
            return request.may_be_repeated(unsent=unsent)
        # It has begun to answer: what it has done is done, unless any request may be repeated.
        retry = request.routed is not None and request.routed.retry
        return retry and request.may_be_repeated(unsent=False)

    async def _choose(self, request: _Request, tried: Collection[str]) -> Replica:
        """Raises NotFoundError, TransientError when there is none."""
        if request.routed is not None:
            return await self._choose_routed(request, request.routed, tried)
        replicas = self._directory.replicas(request.name)
        if request.carried not in {None, ONCE_MORE}:  # the other knows better, or a circle
            replicas = [replica for replica in replicas if replica.endpoint is not None]
        if not replicas:
            raise self._nobody(request)
        return self._choosing.least(replicas, tried, anyio.current_time())

    async def _choose_routed(
        self, request: _Request, routed: Routed, tried: Collection[str]
    ) -> Replica:
        replica = self._choosing.pick(routed, tried, anyio.current_time())
        if replica is None or replica.workload_id in tried:
            replica = await self._wait(request, routed, tried)
        if replica is None:
            reason = self._directory.absence(request.name)
            raise TransientError(
                f"service {request.name!r} has no ready replica, and none became so in "
                f"{routed.hold_s:g} s" + (f": {reason}" if reason else ""),
                code="no_replica",
            )
        return replica

    async def _wait(
        self, request: _Request, routed: Routed, tried: Collection[str]
    ) -> Replica | None:
        """The next replica that becomes ready; None when none does in time, or too many wait."""
        held = self.counting.held
        if held.total() >= MAX_HELD:
            return None
        held[routed.name] += 1
        try:
            with anyio.move_on_after(routed.hold_s):
                return await self._next_ready(request, routed, tried)
        finally:
            held[routed.name] -= 1
            if not held[routed.name]:
                del held[routed.name]
        return None

    async def _next_ready(
        self, request: _Request, routed: Routed, tried: Collection[str]
    ) -> Replica:
        """One that failed may be taken again after a while: it may have been started anew."""
        again_at = anyio.current_time() + AVOID_S
        while True:
            self._wake(routed.owner, routed.name)
            with anyio.move_on_after(WAKE_AGAIN_S):
                await self._directory.change()
            now = anyio.current_time()
            found = self._directory.routed(request.name)
            if found is None:
                raise self._nobody(request)
            request.routed = found
            replica = self._choosing.pick(found, tried, now)
            if replica is not None and (replica.workload_id not in tried or now >= again_at):
                return replica

    def _nobody(self, request: _Request) -> CnetError:
        name = request.name
        if (reason := self._directory.absence(name)) is not None:
            return TransientError(f"service {name!r} has no ready replica: {reason}")
        if request.carried is not None:
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
                    await self._call_here(request, replica, replica.endpoint, again=again)
        except BadGatewayError as error:
            error.message = (
                f"service {request.name!r}: workload {replica.workload_id} on node "
                f"{replica.node_id} {error.message}"
            )
            raise

    async def _call_here(
        self, request: _Request, replica: Replica, endpoint: str, *, again: bool
    ) -> None:
        call = LocalCall(self._pool, request.scope, request.body, request.answer)
        known = self._directory.replica_of(replica.workload_id)
        if known is None:
            await call.run(endpoint, request.target, request.prefix, fresh=again)
            return
        with self.counting.one(*known) as outcome:
            try:
                await call.run(endpoint, request.target, request.prefix, fresh=again)
            finally:  # a client may leave as soon as it has the answer
                outcome.status = request.answer.status if request.answer.whole else 0

    async def _carry(self, request: _Request, replica: Replica) -> None:
        """Hand it to the agent of another node, whose own routes take it on."""
        app = self._carrier.app_for(replica.node_id)
        raw_path = b"%b%b%b" % (_RAW_PREFIX, quote(replica.workload_id).encode(), request.rest)
        scope = {
            **request.scope,
            "path": unquote(raw_path.decode("latin-1")),
            "raw_path": raw_path,
            "headers": carried_headers(
                request.scope, request.prefix, ONCE_MORE if replica.relayed else TO_THE_END
            ),
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
