"""One kept-alive HTTP/1.1 connection to a service; one request at a time."""

from __future__ import annotations

import asyncio
import select
from dataclasses import dataclass
from enum import Enum, auto
from typing import cast

import httptools

from cnet.api.services.headers import Headers
from cnet.errors import BadGatewayError

HIGH_WATER_BYTES = 128 * 1024
"""Of an answer are held unread before the service is made to wait (plus one read, 256 KiB)."""
MAX_HEAD_BYTES = 64 * 1024
"""May come without a byte of body: fields, interim answers, trailers."""


class ServiceGoneError(BadGatewayError):
    """The connection ended, or was never made, before a single byte of an answer.

    `unsent` tells that not a byte of the request went out either.
    """

    def __init__(self, message: str, *, unsent: bool) -> None:
        super().__init__(message)
        self.unsent = unsent
        self.reused = False
        """it happened on a connection that an earlier request was answered on"""


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """Status and fields of a final answer; names in lower case."""

    status: int
    headers: Headers


class _Phase(Enum):
    IDLE = auto()  # no request was sent since the last answer
    HEAD = auto()  # waits for the head of the final answer
    BODY = auto()  # has the head, not yet the end
    DONE = auto()  # all of the answer has come


class Connection(asyncio.Protocol):
    """Both ends are used by at most one task each: `write` and `drain`, `head` and `read`.

    The event loop sets TCP_NODELAY by itself (asyncio and uvloop alike).
    """

    def __init__(self, authority: str) -> None:
        self.authority = authority
        """`host:port` of the service"""
        self.reused = False
        """whether an earlier request was answered on it"""
        self.idle_since = 0.0
        self.ended = asyncio.get_running_loop().create_future()
        """done when the connection is lost"""
        self._transport: asyncio.Transport
        self._poll = select.poll()
        self._parser: httptools.HttpResponseParser
        self._phase = _Phase.IDLE
        self._error: BadGatewayError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._writing_paused = False
        self._reading_paused = False
        self._reset("GET")

    def _reset(self, method: str) -> None:
        self._method = method
        self._headers: Headers = []
        self._status = 0
        self._framed = False
        self._keep_alive = False
        self._answered = False
        self._head_bytes = 0
        self._buffer: list[bytes] = []
        self._buffered = 0

    # --- the request ---------------------------------------------------------------------------

    def begin(self, method: str) -> None:
        """Make ready for the answer to one request, whose bytes follow by `write`."""
        self._reset(method)
        # A parser does not know what was asked: after an answer to HEAD it is of no more use.
        self._parser = httptools.HttpResponseParser(self)
        self._phase = _Phase.HEAD

    def write(self, data: bytes) -> None:
        """Send; nothing happens on a lost connection, whose reader is told."""
        if not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the service has taken most of what was written."""
        if self._writing_paused:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await self._writer
            finally:
                self._writer = None

    # --- the answer ----------------------------------------------------------------------------

    async def head(self) -> AnswerHead:
        """The head of the final answer.

        Raises ServiceGoneError when the connection ends before the first byte, BadGatewayError when
        it ends later, or what comes is no HTTP.
        """
        while self._phase is _Phase.HEAD:
            if self._error is not None:
                raise self._error
            await self._more()
        return AnswerHead(self._status, self._headers)

    async def read(self) -> tuple[bytes, bool]:
        """What has come of the body, and whether more follows; waits for something to tell.

        Raises BadGatewayError when the answer breaks off.
        """
        while not self._buffer and self._phase is _Phase.BODY:
            if self._error is not None:
                raise self._error
            await self._more()
        body = self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer)
        self._buffer.clear()
        self._buffered = 0
        self._resume_reading()
        return body, self._phase is _Phase.BODY

    def _resume_reading(self) -> None:
        if self._reading_paused and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()

    async def _more(self) -> None:
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    # --- its life ------------------------------------------------------------------------------

    @property
    def reusable(self) -> bool:
        """Whether another request may follow, after one that was sent in full."""
        return self._phase is _Phase.DONE and self._keep_alive and not self._transport.is_closing()

    def rest(self, now: float) -> None:
        """Lie idle from `now` on, in monotonic seconds."""
        self._phase = _Phase.IDLE
        self.reused = True
        self.idle_since = now
        self._resume_reading()

    def is_quiet(self) -> bool:
        """Whether an idle connection is open still; asks the system for what is not yet read."""
        return not self._transport.is_closing() and not self._poll.poll(0)

    def close(self) -> None:
        """End it at once, dropping what is not yet sent."""
        self._transport.abort()

    # --- called by the event loop ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._phase is _Phase.BODY and not self._framed and exc is None and self._error is None:
            self._phase = _Phase.DONE  # such an answer ends with its connection
        elif self._error is None:
            self._error = self._loss()
        if not self.ended.done():
            self.ended.set_result(None)
        self._wake_reader()
        self.resume_writing()

    def _loss(self) -> BadGatewayError:
        if self._phase is _Phase.HEAD and not self._answered:
            return ServiceGoneError("closed the connection without an answer", unsent=False)
        return BadGatewayError("closed the connection in the midst of its answer")

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._phase in (_Phase.IDLE, _Phase.DONE):
            self.close()  # nobody asked
            return
        self._answered = True
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("changed the protocol unasked")
        except httptools.HttpParserError as error:
            self._fail(f"gave an answer that is no HTTP/1.1 ({error.__context__ or error})")
        else:
            if self._head_bytes > MAX_HEAD_BYTES:
                self._fail(f"sent more than {MAX_HEAD_BYTES} bytes of header fields")
        self._wake_reader()

    def _fail(self, reason: str) -> None:
        if self._phase is not _Phase.DONE:  # what follows a whole answer only costs the connection
            self._error = BadGatewayError(reason)
        self.close()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # --- called by the parser --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._phase is not _Phase.HEAD:
            raise ValueError("a second answer to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is not _Phase.HEAD:
            return  # a trailer
        name = name.lower()
        if name == b"content-length":
            self._framed = True
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise ValueError("a transfer coding other than chunked")
            self._framed = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._headers = []
            self._framed = False
            return
        if not 200 <= status < 600:
            raise ValueError(f"status {status}")
        self._status = status
        self._keep_alive = self._parser.should_keep_alive()
        bodiless = self._method == "HEAD" or status in {204, 304}
        self._phase = _Phase.DONE if bodiless else _Phase.BODY

    def on_body(self, body: bytes) -> None:
        if self._phase is not _Phase.BODY:
            self._keep_alive = False  # a body where none belongs
            return
        self._head_bytes = 0
        self._buffer.append(body)
        self._buffered += len(body)
        if self._buffered > HIGH_WATER_BYTES and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._phase is _Phase.BODY:
            self._phase = _Phase.DONE
