"""One link: the tasks that read and write one WebSocket, and the watch over its other end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
import structlog
from websockets.frames import CloseCode

from cnet.cluster import wire
from cnet.cluster.frames import Frame, Post, Resync, Update
from cnet.cluster.hello import Held, Hello, Refused
from cnet.cluster.outbox import Outbox
from cnet.cluster.sockets import Socket, SocketClosedError
from cnet.cluster.streams import Stream, Streams
from cnet.cluster.wire import Credit, Head, Open, Reset
from cnet.config import LinkSettings
from cnet.errors import MalformedError
from cnet.register.view import LinkRole

log = structlog.get_logger(__name__)

FIRST_FLUSH_S = 0.002
COALESCE_S = 0.02
"""Seconds between two flushes: changes in between go out together."""
MAX_WAITING = 64 * 1024 * 1024
"""bytes of messages that may wait for an agent that does not read"""
MAX_SEND_S = 30.0
"""seconds that one message may take to leave"""


class Spreads(Protocol):
    """What a link needs of the exchange; see `cnet.cluster.exchange`."""

    def receive(self, peer_id: str, frame: Frame) -> None:
        """A frame has come."""
        ...

    def flush(self, peer_id: str) -> None:
        """Transmit what has gathered."""
        ...


class Link:
    """A connection whose ends have made themselves known, until it is closed.

    Use: `await link.run()`, and meanwhile the other methods; `beat` several times per `ping_s`.
    """

    def __init__(
        self,
        socket: Socket,
        other: Hello,
        *,
        dialled: bool,
        settings: LinkSettings,
        exchange: Spreads,
        serve: Callable[[Link, Open, Stream], None],
    ) -> None:
        """`other.role` is what the other agent is to this one; `serve` takes its requests."""
        self.peer_id = other.node_id
        self.other = other
        self.dialled = dialled
        self.ended = anyio.Event()
        """set by the owner when this link is no longer of use"""
        self.reason = "the link is not open any more"
        """why it was closed"""
        self._socket = socket
        self._settings = settings
        self._exchange = exchange
        self._outbox = Outbox()
        self._streams = Streams(
            self._outbox, dialled=dialled, serve=lambda opened, stream: serve(self, opened, stream)
        )
        self._assembler = wire.Assembler()
        self._scope = anyio.CancelScope()
        self._close_code = CloseCode.NORMAL_CLOSURE
        self._abrupt = False
        now = anyio.current_time()
        self._heard_at = now
        self._sent_at = now
        self._sending = False
        self._flush_at: float | None = None
        self._flushed_at = 0.0

    @property
    def role(self) -> LinkRole:
        """What the other agent is to this one."""
        return self.other.role

    @property
    def held(self) -> Held:
        """As those see it who want to open another link to the same agent."""
        return Held(
            instance=self.other.instance,
            incarnation=self.other.incarnation,
            role=self.role,
            dialled=self.dialled,
        )

    async def run(self) -> None:
        """Carry what there is until either end closes, or this is cancelled."""
        try:
            with self._scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._guarded, self._write)
                    await self._guarded(self._read)
        finally:
            self._streams.lose(f"the link to {self.peer_id} was lost: {self.reason}")
            if self._abrupt:
                self._socket.abort()
            else:
                await self._socket.close(self._close_code, self.reason)

    def cut(
        self, reason: str, *, code: CloseCode = CloseCode.NORMAL_CLOSURE, abrupt: bool = False
    ) -> None:
        """Close it; `abrupt`: without a goodbye that nobody would hear. Harmless when repeated."""
        if not self._scope.cancel_called:
            self.reason, self._close_code, self._abrupt = reason, code, abrupt
            self._scope.cancel()

    def transmit(self, frame: Frame) -> None:
        """Queue a frame of the exchange."""
        for part in wire.encode(frame):
            self._outbox.put(part)
        self._require_reader(anyio.current_time())

    def dirty(self) -> None:
        """The exchange has something to flush; see COALESCE_S."""
        if self._flush_at is None:
            earliest = self._flushed_at + COALESCE_S
            self._flush_at = max(anyio.current_time() + FIRST_FLUSH_S, earliest)
            self._outbox.wake()

    def open(
        self,
        *,
        to: str,
        path: tuple[str, ...],
        method: str,
        target: str,
        query: str,
        headers: tuple[tuple[str, str], ...],
    ) -> Stream:
        """Begin a request; `forget` is due when it is over. Raises UnreachableError."""
        return self._streams.open(
            to=to, path=path, method=method, target=target, query=query, headers=headers
        )

    def forget(self, stream: Stream) -> None:
        """The request is over."""
        self._streams.forget(stream)

    def beat(self, now: float, *, late: bool) -> None:
        """Ping if nothing was sent for long, close if nothing was heard for longer.

        `late`: this process itself stood still, so what the other end has sent may not have been
        read yet; it gets the time of another ping.
        """
        ping_s = self._settings.ping_s
        patience = ping_s * self._settings.lost_after
        if late:
            self._heard_at = max(self._heard_at, now - patience + ping_s)
        if now - self._heard_at > patience:
            self.cut(f"nothing heard from {self.peer_id} for {patience:g} s", abrupt=True)
            return
        self._require_reader(now)
        if now - self._sent_at >= ping_s and not self._outbox and not self._sending:
            self._outbox.put(wire.PING)

    def _require_reader(self, now: float) -> None:
        """Give an agent up that lives but does not read: what waits for it must not pile up."""
        stuck = self._sending and now - self._sent_at > MAX_SEND_S
        if stuck or self._outbox.size > MAX_WAITING:
            self.cut(f"{self.peer_id} does not read what it is sent", abrupt=True)

    async def _guarded(self, part: Callable[[], Awaitable[None]]) -> None:
        """Run one of the two tasks; however it ends, the link ends with it, and nothing else."""
        try:
            await part()
        except SocketClosedError as error:
            self.cut(str(error))
        except MalformedError as error:
            self.cut(error.message, code=CloseCode.PROTOCOL_ERROR)
        except Exception:  # an error here costs this link, and no other
            log.exception("link_failed", peer=self.peer_id)
            self.cut("an error of the other agent", code=CloseCode.INTERNAL_ERROR)

    async def _read(self) -> None:
        while True:
            data = await self._socket.receive()
            if self._scope.cancel_called:  # nothing is handed on after another link took its place
                return
            self._heard_at = anyio.current_time()
            received = self._assembler.feed(data)
            if isinstance(received, tuple):
                self._streams.receive_piece(*received)
            elif isinstance(received, Open | Head | Credit | Reset):
                self._streams.receive(received)
            elif isinstance(received, Update | Resync | Post):
                self._exchange.receive(self.peer_id, received)
            elif isinstance(received, Refused):
                raise SocketClosedError(received.details)
            elif received is not None:
                raise MalformedError("message: the link is open already")

    async def _write(self) -> None:
        while True:
            message = self._outbox.next_message()
            if message is None and self._is_flush_due():
                self._flush()
                continue
            if message is None:
                message = self._outbox.next_piece()
            if message is None:
                await self._outbox.wait(self._until_flush())
                continue
            self._sent_at = anyio.current_time()
            self._sending = True
            await self._socket.send(message)
            self._sending = False

    def _flush(self) -> None:
        # Only when nothing waits to be sent: to a slow reader changes go out together, as the
        # latest state of each node, and do not pile up here.
        self._flush_at = None
        self._flushed_at = anyio.current_time()
        self._exchange.flush(self.peer_id)

    def _is_flush_due(self) -> bool:
        return self._flush_at is not None and anyio.current_time() >= self._flush_at

    def _until_flush(self) -> float | None:
        return None if self._flush_at is None else self._flush_at - anyio.current_time()
