"""HTTP connections for many small replies, and for large ones out of files.

Most replies need no waiting: the catalogue and the small files are in memory. The application runs
at once, where its request was parsed, and what it sends leaves in one write. If it does wait, the
rest of it becomes the task that uvicorn would have begun with.

ASGI has no word that uvicorn knows for sending a file without bringing it into this process, so
the connection offers it as an extension of the request. Sending happens in a worker thread as long
as the client keeps up, since a page that is not in memory would stop the event loop; for a client
that is slow no thread waits.
"""

from __future__ import annotations

import os
import select
import types
from collections.abc import Coroutine, Generator, Iterable
from typing import Any

import anyio
import httptools
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from cnet.gateway.wire import Message, Receive, Scope, Send
from cnet.storage.base import Extent

EXTENSION = "cnet.sendfile"

_STEP = 64 << 20
_PATIENCE_MS = 20
_STALLED_S = 60.0
_THREADS = 16

_PROMPT_METHODS = (b"GET", b"HEAD")
_NOT_PROMPT = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
_CLOSE = (b"connection", b"close")
_LINE_BREAKS = b"\r\n\0"

_limiter: RunVar[CapacityLimiter] = RunVar("cnet.sendfile")


class _Exchange:
    """One request: what the application has sent is held until the request has a cycle."""

    def __init__(self, cycle: RequestResponseCycle | None = None) -> None:
        self.cycle = cycle
        self.held: list[Message] = []

    async def send(self, message: Message) -> None:
        """ASGI's send."""
        self.held.append(message)
        if self.cycle is not None:
            await self.settle()

    async def receive(self) -> Message:
        """ASGI's receive."""
        return dict(await (await self.settle()).receive())

    async def settle(self) -> RequestResponseCycle:
        """The cycle, which has all that was sent."""
        if self.cycle is None:
            await _wait()
        if self.cycle is None:
            raise RuntimeError("the request did not become a task")
        while self.held:
            await self.cycle.send(self.held.pop(0))  # type: ignore[arg-type]
        return self.cycle


class FileSender:
    """Sends the body of one reply out of open files; its length was announced in the headers."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    async def send(self, extents: Iterable[Extent]) -> bool:
        """False when the client went away or has taken nothing for a minute."""
        self._cycle = cycle = await self._exchange.settle()
        if not await self._flushed():
            return self._give_up()
        # The thread must never write to a number that has become another connection.
        descriptor = os.dup(cycle.transport.get_extra_info("socket").fileno())
        try:
            for extent in extents:
                if not await self._send_extent(descriptor, extent):
                    return self._give_up()
                cycle.expected_content_length -= extent.length
        except (BrokenPipeError, ConnectionError, TimeoutError):
            return self._give_up()
        finally:
            os.close(descriptor)
        return True

    async def _flushed(self) -> bool:
        """Wait until the headers have left: what goes to the socket next must come behind them."""
        transport = self._cycle.transport
        transport.set_write_buffer_limits(high=0)
        try:
            with anyio.fail_after(_STALLED_S):
                await self._cycle.flow.drain()
        except TimeoutError:
            return False
        finally:
            transport.set_write_buffer_limits()
        return not (self._cycle.disconnected or transport.is_closing())

    async def _send_extent(self, descriptor: int, extent: Extent) -> bool:
        offset, end = extent.offset, extent.offset + extent.length
        while offset < end:
            count = min(end - offset, _STEP)
            offset += await to_thread.run_sync(
                _push, descriptor, extent.descriptor, offset, count, limiter=_threads()
            )
            if self._cycle.disconnected:
                return False
            if offset < end:
                with anyio.fail_after(_STALLED_S):
                    await anyio.wait_writable(descriptor)
        return True

    def _give_up(self) -> bool:
        self._cycle.disconnected = True
        self._cycle.transport.abort()
        return False


class GatewayProtocol(HttpToolsProtocol):
    """uvicorn's connection, with a `FileSender` among the extensions of each request."""

    _prompt = False
    """whether the request may be answered at once"""
    _idle_since: float | None = None
    """by the clock of the loop; None while something comes in or is answered"""

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._prompt = True
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        name = name.lower()
        if name in _NOT_PROMPT:
            self._prompt = False
            super().on_header(name, value)
        else:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The application begins after this has returned."""
        if b"#" in self.url:
            # A request has no fragment; what a parser would drop belongs to the key.
            self.url = self.url.replace(b"#", b"%23")
        self._prompt = self._prompt and self._is_at_rest()
        if not self._prompt:
            self._begin()
            self.scope["extensions"] = self._extensions(_Exchange(self.cycle))

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if self._prompt:
            self._answer()
        else:
            super().on_message_complete()

    def _begin(self) -> None:
        """What uvicorn does when a request has begun, and when its headers are there."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()

    def _is_at_rest(self) -> bool:
        """Whether no other request is under way, and the client takes what it is sent."""
        return (
            self.parser.get_method() in _PROMPT_METHODS
            and (self.cycle is None or self.cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def _answer(self) -> None:
        url = httptools.parse_url(self.url)
        exchange = _Exchange()
        scope = {
            "type": "http",
            "method": self.parser.get_method().decode("ascii"),
            "raw_path": url.path,
            "query_string": url.query or b"",
            "headers": self.headers,
            "extensions": self._extensions(exchange),
        }
        rest: Coroutine[Any, Any, None] | None
        try:
            rest = _begun(self.app(scope, exchange.receive, exchange.send))
            if rest is None:
                self._write(exchange.held)
        except Exception as error:  # noqa: BLE001 - raised anew where uvicorn logs it
            exchange.held.clear()
            rest = _raise(error)
        if rest is not None:
            self._go_on(exchange, rest)

    def _write(self, sent: list[Message]) -> None:
        """A complete reply in one piece."""
        keeps = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        start, *pieces = sent
        headers = [*self.server_state.default_headers, *start["headers"]]
        if _CLOSE in headers:
            keeps = False
        elif not keeps:
            headers.append(_CLOSE)
        lines = b"\r\n".join(map(b": ".join, headers))
        if len(lines.translate(None, _LINE_BREAKS)) != len(lines) - 2 * (len(headers) - 1):
            raise RuntimeError("a header of the reply has a line break inside")
        bodies = [piece["body"] for piece in pieces]
        self.transport.write(b"".join([STATUS_LINE[start["status"]], lines, b"\r\n\r\n", *bodies]))
        self.server_state.total_requests += 1
        if keeps:
            self._idle_since = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self._look_again_in(self.timeout_keep_alive)
        else:
            self.transport.close()

    def _go_on(self, exchange: _Exchange, rest: Coroutine[Any, Any, None]) -> None:
        """Make a task of the rest, as uvicorn makes one of every request."""

        async def application(_scope: Scope, _receive: Receive, _send: Send) -> None:
            await rest
            await exchange.settle()

        whole, self.app = self.app, application
        try:
            self._begin()
        finally:
            self.app = whole
        exchange.cycle = self.cycle
        super().on_message_complete()

    # A timer for each pause between requests costs more than parsing one: uvicorn's is left to run,
    # and looks whether the connection was idle all the time.

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        self._stop_looking()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Called when the reply of a task is complete."""
        self._stop_looking()
        super().on_response_complete()
        self._idle_since = self.loop.time()

    def timeout_keep_alive_handler(self) -> None:
        """Called by the timer."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_again_in(left)
        else:
            super().timeout_keep_alive_handler()

    def _unset_keepalive_if_required(self) -> None:
        """Called by uvicorn when something has come in."""
        self._idle_since = None

    def _look_again_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )

    def _stop_looking(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def _extensions(self, exchange: _Exchange) -> dict[str, Any]:
        return {EXTENSION: FileSender(exchange)} if self.scheme == "http" else {}


def _begun(running: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None] | None:
    """Run a coroutine until it waits for something; the rest of it."""
    try:
        awaited = running.send(None)
    except StopIteration:
        return None
    return _rest(running, awaited)


@types.coroutine
def _wait() -> Generator[None, None, None]:
    yield


@types.coroutine
def _rest(running: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """What is left of a coroutine that has awaited something outside of a task."""
    try:
        while awaited is not None:
            try:
                yield awaited
            except BaseException as error:  # noqa: BLE001 - it was awaited in there
                awaited = running.throw(error)
            else:
                break
        yield from running
    except StopIteration:
        return
    finally:
        running.close()


async def _raise(error: Exception) -> None:
    raise error


def _push(target: int, source: int, offset: int, count: int) -> int:
    """Bytes that went out before the client fell behind."""
    sent = 0
    poll = select.poll()
    poll.register(target, select.POLLOUT)
    while sent < count:
        try:
            step = os.sendfile(target, source, offset + sent, count - sent)
        except BlockingIOError:
            if not poll.poll(_PATIENCE_MS):
                break
            continue
        if step == 0:
            raise OSError("a stored file is shorter than the catalogue says")
        sent += step
    return sent


def _threads() -> CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(_THREADS)
        _limiter.set(limiter)
        return limiter
