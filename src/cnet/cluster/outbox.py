"""What waits to be sent over one link: messages first, then bodies, a piece of each in turn."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import anyio


class Source(Protocol):
    """A body with pieces to send."""

    def next_piece(self) -> tuple[bytes | None, bool]:
        """A WebSocket message, None when there is none after all; and whether more are there."""
        ...


class Outbox:
    """Filled from anywhere, emptied by the one task that writes to the link."""

    def __init__(self) -> None:
        self.size = 0
        """bytes of messages that wait; bodies bound themselves by their credit"""
        self._messages: deque[str | bytes] = deque()
        self._sources: deque[Source] = deque()
        self._filled = anyio.Event()

    def put(self, message: str | bytes) -> None:
        """Queue a message, in front of all bodies."""
        self._messages.append(message)
        self.size += len(message)
        self._filled.set()

    def put_source(self, source: Source) -> None:
        """Queue a body that has pieces and is not queued."""
        self._sources.append(source)
        self._filled.set()

    def next_message(self) -> str | bytes | None:
        """The oldest message, if there is one."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self.size -= len(message)
        return message

    def next_piece(self) -> bytes | None:
        """A piece of the body whose turn it is, if there is one."""
        while self._sources:
            source = self._sources.popleft()
            piece, more = source.next_piece()
            if more:
                self._sources.append(source)
            if piece is not None:
                return piece
        return None

    def __bool__(self) -> bool:
        return bool(self._messages or self._sources)

    def wake(self) -> None:
        """Let `wait` return although nothing was put in."""
        self._filled.set()

    async def wait(self, timeout_s: float | None) -> None:
        """Until something is put in, or for so long."""
        if not self:
            with anyio.move_on_after(timeout_s):
                await self._filled.wait()
        if self._filled.is_set():
            self._filled = anyio.Event()
