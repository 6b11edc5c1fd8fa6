"""Requests and replies that share one link, each body with a window of its own.

Whoever sends a body may be WINDOW bytes ahead of whoever reads it, so one slow reader neither fills
the memory nor holds up the link. All of this is bookkeeping on the event loop's thread; the link
does the sending and the receiving.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import anyio

from cnet.cluster import wire
from cnet.cluster.outbox import Outbox
from cnet.cluster.wire import Credit, Head, Open, Reset
from cnet.errors import MalformedError, UnreachableError

WINDOW = 256 * 1024
"""bytes of one body that may be on their way or wait to be read"""
MAX_CALLS = 1024
"""requests of one side that may be open at once over a link"""
_NUMBERS = 2**32


class _Signal:
    """Wakes all who wait; they look again at what they wait for."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        self._event.set()
        self._event = anyio.Event()

    async def wait(self) -> None:
        await self._event.wait()


class Stream:
    """One request and its reply, at either end: a body comes in, a body goes out."""

    def __init__(self, number: int, outbox: Outbox) -> None:
        self.number = number
        self._outbox = outbox
        self._broken: str | None = None
        # what comes in
        self._head: Head | None = None
        self._pieces: deque[bytes] = deque()
        self._window = WINDOW
        self._owed = 0  # bytes that were read and for which no credit was given yet
        self._ended = False
        self._readable = _Signal()
        # what goes out
        self._credit = WINDOW
        self._out: deque[bytes] = deque()
        self._queued = False
        self._finished = False
        self._writable = _Signal()

    # --- for whoever asks or answers -----------------------------------------------------------

    async def head(self) -> Head:
        """The head of the reply. Raises UnreachableError when there will be none."""
        while self._head is None:
            self._require_whole()
            await self._readable.wait()
        return self._head

    async def read(self) -> bytes:
        """The next bytes of the body that comes in; b"" at its end.

        Raises UnreachableError when it will not be completed.
        """
        while not self._pieces:
            if self._ended:
                return b""
            self._require_whole()
            await self._readable.wait()
        piece = self._pieces.popleft()
        self._owed += len(piece)
        if self._owed >= WINDOW // 2 and not self._ended:
            self._window += self._owed
            self._put(Credit(self.number, self._owed))
            self._owed = 0
        return piece

    async def until_over(self) -> None:
        """Wait until the own body is complete, the other end has given up, or the link is lost."""
        while self._broken is None and not self._finished:
            await self._readable.wait()

    def begin(self, head: Head) -> None:
        """Send the head of the reply."""
        if self._broken is None:
            self._put(head)

    async def write(self, data: bytes) -> None:
        """Queue bytes of the body that goes out, waiting while the other end is slow to read.

        Raises UnreachableError when nobody will read them any more.
        """
        view = memoryview(data)
        while view:
            self._require_whole()
            if not self._credit:
                await self._writable.wait()
                continue
            part = view[: self._credit]
            self._credit -= len(part)
            self._out.extend(wire.body_pieces(self.number, part))
            self._enqueue()
            view = view[len(part) :]

    def finish(self) -> None:
        """The body that goes out is complete."""
        if self._broken is None and not self._finished:
            self._finished = True
            self._out.append(wire.body_end(self.number))
            self._enqueue()
            self._readable.set()

    def reset(self, details: str) -> None:
        """Give the whole exchange up and tell the other end why; harmless when it is broken."""
        if self._broken is None:
            self._put(Reset(self.number, details))
            self.break_off(details)

    @property
    def is_broken(self) -> bool:
        """Given up by either end, or the link is lost."""
        return self._broken is not None

    @property
    def is_complete(self) -> bool:
        """All of the body that comes in has come."""
        return self._ended

    # --- for the link --------------------------------------------------------------------------

    def receive_head(self, head: Head) -> None:
        """Raises MalformedError."""
        if self._head is not None:
            raise MalformedError(f"head: request {self.number} has one already")
        self._head = head
        self._readable.set()

    def receive_piece(self, data: bytes) -> None:
        """Raises MalformedError when the other end disregards the window, or goes on after b""."""
        self._window -= len(data)
        if self._window < 0 or self._ended:
            raise MalformedError(f"body: request {self.number} sends more than it may")
        if data:
            self._pieces.append(data)
        else:
            self._ended = True
        self._readable.set()

    def receive_credit(self, size: int) -> None:
        """Raises MalformedError."""
        if size < 0 or self._credit + size > WINDOW:
            raise MalformedError(f"credit: request {self.number} may be {WINDOW} bytes ahead")
        self._credit += size
        self._writable.set()

    def break_off(self, details: str) -> None:
        """Nothing will come any more, and nothing is sent; bytes that came can still be read."""
        if self._broken is None:
            self._broken = details
            self._out.clear()
            self._readable.set()
            self._writable.set()

    def next_piece(self) -> tuple[bytes | None, bool]:
        """As in outbox.Source."""
        piece = self._out.popleft() if self._out else None
        self._queued = bool(self._out)
        return piece, self._queued

    def _enqueue(self) -> None:
        if not self._queued:
            self._queued = True
            self._outbox.put_source(self)

    def _put(self, message: wire.Message) -> None:
        for part in wire.encode(message):
            self._outbox.put(part)

    def _require_whole(self) -> None:
        if self._broken is not None:
            raise UnreachableError(self._broken, code="node_unreachable")


class Streams:
    """The requests of both sides of one link, by number."""

    def __init__(
        self, outbox: Outbox, *, dialled: bool, serve: Callable[[Open, Stream], None]
    ) -> None:
        """`serve` is called with each request that comes in and must not block."""
        self._outbox = outbox
        self._serve = serve
        self._next = 1 if dialled else 2
        self._own = self._next % 2
        self._streams: dict[int, Stream] = {}
        self._calls = 0
        self._lost: str | None = None

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
        """Begin a request. Raises UnreachableError when the link is lost."""
        if self._lost is not None:
            raise UnreachableError(self._lost, code="node_unreachable")
        stream = Stream(self._free_number(), self._outbox)
        self._streams[stream.number] = stream
        opened = Open(
            id=stream.number,
            to=to,
            path=path,
            method=method,
            target=target,
            query=query,
            headers=headers,
        )
        for part in wire.encode(opened):
            self._outbox.put(part)
        return stream

    def forget(self, stream: Stream) -> None:
        """Whatever still comes for it is of no interest."""
        if self._streams.pop(stream.number, None) is not None and not self._is_own(stream.number):
            self._calls -= 1

    def receive(self, message: Open | Head | Credit | Reset) -> None:
        """Raises MalformedError."""
        if isinstance(message, Open):
            self._receive_open(message)
            return
        stream = self._streams.get(message.id)
        if stream is None:
            return
        if isinstance(message, Head):
            stream.receive_head(message)
        elif isinstance(message, Credit):
            stream.receive_credit(message.size)
        else:
            stream.break_off(message.details)

    def receive_piece(self, number: int, data: bytes) -> None:
        """Raises MalformedError."""
        stream = self._streams.get(number)
        if stream is not None:
            stream.receive_piece(data)

    def lose(self, details: str) -> None:
        """The link is lost: all that is open breaks, nothing new is taken."""
        self._lost = details
        for stream in list(self._streams.values()):
            stream.break_off(details)

    def _receive_open(self, opened: Open) -> None:
        if self._is_own(opened.id) or not 0 < opened.id < _NUMBERS or opened.id in self._streams:
            raise MalformedError(f"open: {opened.id} is no number for a new request")
        stream = Stream(opened.id, self._outbox)
        if self._calls >= MAX_CALLS:
            stream.reset(f"more than {MAX_CALLS} requests are open over this link")
            return
        self._streams[opened.id] = stream
        self._calls += 1
        self._serve(opened, stream)

    def _is_own(self, number: int) -> bool:
        return number % 2 == self._own

    def _free_number(self) -> int:
        while self._next in self._streams or self._next == 0:
            self._next = (self._next + 2) % _NUMBERS
        number = self._next
        self._next = (self._next + 2) % _NUMBERS
        return number
