"""HTTP connections that can send parts of files without bringing them into this process.

ASGI has no word for it that uvicorn knows, so the connection offers it as an extension of the
request. Sending happens in a worker thread as long as the client keeps up, since a page that is
not in memory would stop the event loop; for a client that is slow no thread waits.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterable
from typing import Any

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from cnet.storage.base import Extent

EXTENSION = "cnet.sendfile"

_STEP = 64 << 20
_PATIENCE_MS = 20
_STALLED_S = 60.0
_THREADS = 16

_limiter: RunVar[CapacityLimiter] = RunVar("cnet.sendfile")


class FileSender:
    """Sends the body of one reply out of open files; its length was announced in the headers."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    async def send(self, extents: Iterable[Extent]) -> bool:
        """False when the client went away or has taken nothing for a minute."""
        cycle = self._cycle
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


class SendfileProtocol(HttpToolsProtocol):
    """uvicorn's connection, with a `FileSender` among the extensions of each request."""

    def on_headers_complete(self) -> None:
        """The application's task begins after this has returned."""
        if b"#" in self.url:
            # A request has no fragment; what a parser would drop belongs to the key.
            self.url = self.url.replace(b"#", b"%23")
        super().on_headers_complete()
        if self.scheme == "http":
            extensions: dict[str, Any] = {EXTENSION: FileSender(self.cycle)}
            self.scope["extensions"] = extensions


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
