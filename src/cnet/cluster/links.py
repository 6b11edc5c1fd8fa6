"""The links of one agent: who is linked, how it came about, and the way for requests to any node.

One WebSocket per pair. The child dials its parent, peers dial each other and keep one of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus
from starlette.types import ASGIApp, Receive, Scope, Send
from websockets.frames import CloseCode

from cnet.cluster import requests
from cnet.cluster.addresses import Addresses
from cnet.cluster.dialler import Dialler, Outcome, Target
from cnet.cluster.frames import MAX_HOPS, Frame
from cnet.cluster.handshake import HandshakeError, Handshakes
from cnet.cluster.hello import Hello, Identity, host_mark, join_address, split_address
from cnet.cluster.link import Link, Spreads
from cnet.cluster.sockets import (
    AcceptedSocket,
    DialledSocket,
    Socket,
    SocketClosedError,
    link_url,
)
from cnet.cluster.streams import Stream
from cnet.cluster.wire import Open
from cnet.config import Settings
from cnet.errors import MalformedError, UnreachableError
from cnet.register.view import LinkRole

log = structlog.get_logger(__name__)

TICK_S = 1.0
BEATS_PER_PING = 2


class ExchangePort(Spreads, Protocol):
    """What links need of the exchange; see `cnet.cluster.exchange`."""

    def link_up(self, peer_id: str, role: LinkRole, *, wants_all: bool = False) -> None:
        """A link is open."""
        ...

    def link_down(self, peer_id: str) -> None:
        """A link is lost."""
        ...

    def next_hop(self, to: str) -> str | None:
        """The linked agent through which a node is reached."""
        ...

    def tick(self) -> None:
        """A second has gone by."""
        ...


class Links:
    """Use: `attach`, then `await group.start(links.run)`, then the other methods.

    All on the event loop's thread.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        settings: Settings,
        parent_token: str | None = None,
        peer_token: str | None = None,
        address_seen: Callable[[str], None] = lambda _address: None,
    ) -> None:
        """`address_seen(host:port)` is called when it becomes known where others reach this agent.

        Raises ConfigError when an address to dial is none.
        """
        self.node_id = identity.node_id
        self._identity = identity
        self._settings = settings
        self._targets = _targets(settings, parent_token, peer_token)
        self._addresses = Addresses(
            advertised=settings.agent.advertise,
            loopback_only=settings.is_loopback,
            changed=address_seen,
        )
        self._host_mark = host_mark()
        self._exchange: ExchangePort | None = None
        self._app: ASGIApp | None = None
        self._links: dict[str, Link] = {}
        self._handshakes = Handshakes(
            identity, lambda node_id: link.held if (link := self._links.get(node_id)) else None
        )
        self._last_refusal = ""
        self._tasks: TaskGroup | None = None

    def attach(self, *, exchange: ExchangePort, app: ASGIApp) -> None:
        """What is above: the exchange, and the application that answers requests over links.

        `app` is called without the guard: a link is authenticated, and so is what comes over it.
        """
        self._exchange = exchange
        self._app = app

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Dial, watch and answer until cancelled; then all links are closed.

        The exchange is not told of links that close because this agent stops.
        """
        async with anyio.create_task_group() as group:
            self._tasks = group
            try:
                for target in self._targets:
                    dialler = Dialler(target, self._settings.links, self._talk)
                    group.start_soon(dialler.run, name=f"dial {target.url}")
                group.start_soon(self._watch, name="watch links")
                group.start_soon(self._tick, name="tick exchange")
                task_status.started()
                await anyio.sleep_forever()
            finally:
                self._tasks = None
                for link in list(self._links.values()):
                    link.cut(f"{self.node_id} is stopping", code=CloseCode.GOING_AWAY)

    @property
    def linked(self) -> Mapping[str, LinkRole]:
        """The agents that a link is up to, and what they are to this one."""
        return {peer_id: link.role for peer_id, link in self._links.items()}

    @property
    def address(self) -> str:
        """`host:port` where others reach this agent; empty while not known."""
        return self._addresses.current

    # --- for the exchange ----------------------------------------------------------------------

    def transmit(self, peer_id: str, frame: Frame) -> None:
        """Queue a frame; dropped when there is no link. Never waits."""
        if (link := self._links.get(peer_id)) is not None:
            link.transmit(frame)

    def dirty(self, peer_id: str) -> None:
        """Have the exchange flushed within 20 ms, later only while the link is busy."""
        if (link := self._links.get(peer_id)) is not None:
            link.dirty()

    # --- requests ------------------------------------------------------------------------------

    def app_for(self, node_id: str) -> ASGIApp:
        """An ASGI application that carries an HTTP request to that node's own application.

        Raises UnreachableError (`node_unreachable`) when no link leads there. So does the
        application that is returned, when the way is lost: before it has sent anything, or in the
        midst of the reply, which then must be broken off.
        """
        if node_id == self.node_id:
            return self._own_app
        self._hop(node_id, ())

        async def carry(scope: Scope, receive: Receive, send: Send) -> None:
            passed: tuple[str, ...] = scope.get("cnet.path", ())
            link = self._hop(node_id, passed)
            stream = link.open(
                to=node_id,
                path=(*passed, self.node_id),
                method=scope["method"],
                target=requests.target_of(scope),
                query=scope["query_string"].decode("latin-1"),
                headers=requests.request_headers(scope, node_id),
            )
            try:
                await requests.call(stream, receive, send)
            finally:
                link.forget(stream)

        return carry

    def _hop(self, node_id: str, passed: tuple[str, ...]) -> Link:
        if self.node_id in passed or len(passed) >= MAX_HOPS:
            raise _unreachable(
                f"{node_id} cannot be reached: the way by {', '.join(passed)} does not lead there"
            )
        hop = self._exchange_port.next_hop(node_id)
        link = self._links.get(hop) if hop is not None else None
        if link is None:
            raise _unreachable(
                f"{node_id} cannot be reached from {self.node_id}: no link leads there"
            )
        return link

    def _serve(self, link: Link, opened: Open, stream: Stream) -> None:
        if opened.path[-1:] != (link.peer_id,):
            raise MalformedError(
                f"open: path {list(opened.path)} does not lead to {link.peer_id}, which sends it"
            )
        if self._tasks is None:
            stream.reset(f"{self.node_id} is stopping")
            link.forget(stream)
            return
        self._tasks.start_soon(
            self._answer_request, link, opened, stream, name=f"request of {link.peer_id}"
        )

    async def _answer_request(self, link: Link, opened: Open, stream: Stream) -> None:
        scope = requests.scope_of(opened, link=link.peer_id)
        try:
            await requests.serve(stream, self._relay(opened.to), scope)
        finally:
            link.forget(stream)

    def _relay(self, to: str) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await self.app_for(to)(scope, receive, send)

        return app

    @property
    def _own_app(self) -> ASGIApp:
        if self._app is None:
            raise RuntimeError("attach comes first")
        return self._app

    @property
    def _exchange_port(self) -> ExchangePort:
        if self._exchange is None:
            raise RuntimeError("attach comes first")
        return self._exchange

    # --- how links come about ------------------------------------------------------------------

    async def accept(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application behind `/api/link`; whoever calls has been authenticated."""
        socket = AcceptedSocket(scope, receive, send)
        try:
            await socket.accept()
        except SocketClosedError:
            return
        try:
            caller, confirmed = await self._handshakes.answer(socket)
        except HandshakeError as error:
            self._note_refusal(socket.remote[0], error)
            await socket.close(CloseCode.POLICY_VIOLATION, error.details)
            return
        host, port = split_address(confirmed.address)
        self._note_address(caller, host, port)
        await self._hold(socket, caller, dialled=False)

    def _note_refusal(self, remote: str, error: HandshakeError) -> None:
        """Log it once, not with every try of the same caller; of two that call, one is refused."""
        if error.why != "duplicate" and error.details != self._last_refusal:
            self._last_refusal = error.details
            log.warning("link_refused", remote=remote, details=error.details)

    async def _talk(self, socket: DialledSocket, target: Target) -> Outcome:
        """Make a link of a connection that was dialled, and stay until it has ended."""
        escalate = target.role == "parent" and self._settings.parent.escalate
        try:
            answer = await self._handshakes.call(socket, target.role, escalate=escalate)
        except HandshakeError as error:
            await socket.close(CloseCode.POLICY_VIOLATION, error.details)
            held = self._links.get(error.node_id) if error.node_id is not None else None
            return Outcome(details=f"{target.url}: {error.details}", why=error.why, held=held)
        self._note_address(answer, answer.seen, self._identity.port)
        started = anyio.current_time()
        await self._hold(socket, answer, dialled=True)
        return Outcome(lasted_s=anyio.current_time() - started)

    async def _hold(self, socket: Socket, other: Hello, *, dialled: bool) -> None:
        """Let a link be up until it is closed; it takes the place of one to the same agent."""
        link = Link(
            socket,
            other,
            dialled=dialled,
            settings=self._settings.links,
            exchange=self._exchange_port,
            serve=self._serve,
        )
        peer_id = link.peer_id
        former = self._links.get(peer_id)
        self._links[peer_id] = link
        if former is not None:
            former.cut("a newer link has taken its place")
        log.info("link_up", peer=peer_id, role=link.role, remote=socket.remote[0])
        self._tell_up(link)
        try:
            await link.run()
        finally:
            if self._links.get(peer_id) is link:
                del self._links[peer_id]
                self._tell_down(peer_id)
            link.ended.set()
            log.info("link_down", peer=peer_id, role=link.role, reason=link.reason)

    def _tell_up(self, link: Link) -> None:
        if self._tasks is None:
            link.cut(f"{self.node_id} is stopping", code=CloseCode.TRY_AGAIN_LATER)
            return
        try:
            self._exchange_port.link_up(link.peer_id, link.role, wants_all=link.other.escalate)
        except Exception:  # an error of the exchange costs this link, and no other
            log.exception("link_failed", peer=link.peer_id)
            link.cut("an error of the other agent", code=CloseCode.INTERNAL_ERROR)

    def _tell_down(self, peer_id: str) -> None:
        if self._tasks is None:
            return
        try:
            self._exchange_port.link_down(peer_id)
        except Exception:  # an error of the exchange must not end other links
            log.exception("link_failed", peer=peer_id)

    def _note_address(self, other: Hello, host: str, port: int) -> None:
        """`other` reaches this agent at this IP address and port."""
        if host and port:
            self._addresses.seen(
                other.node_id,
                host,
                join_address(host, port),
                same_host=other.host == self._host_mark,
                by_parent=other.role == "parent",
            )

    # --- time ----------------------------------------------------------------------------------

    async def _watch(self) -> None:
        ping_s = self._settings.links.ping_s
        period = ping_s / BEATS_PER_PING
        due = anyio.current_time() + period
        while True:
            await anyio.sleep(due - anyio.current_time())
            now = anyio.current_time()
            late = now - due > ping_s
            for link in list(self._links.values()):
                link.beat(now, late=late)
            due = now + period

    async def _tick(self) -> None:
        while True:
            await anyio.sleep(TICK_S)
            try:
                self._exchange_port.tick()
            except Exception:  # an error of the exchange must not end the links
                log.exception("tick_failed")


def _targets(settings: Settings, parent_token: str | None, peer_token: str | None) -> list[Target]:
    targets = []
    if settings.parent.enabled and settings.parent.address is not None:
        url = link_url(settings.parent.address, "parent.address")
        targets.append(Target(url, "parent", parent_token))
    if settings.peers.enabled:
        for address in settings.peers.addresses:
            url = link_url(address, "peers.addresses")
            targets.append(Target(url, "peer", peer_token))
    return targets


def _unreachable(message: str) -> UnreachableError:
    return UnreachableError(message, code="node_unreachable")
