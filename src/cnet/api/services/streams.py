"""Both directions of one request: the body that comes, and the answer that goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Message, Receive, Scope, Send

from cnet.errors import CnetError

IN_HAND_BYTES = 64 * 1024
"""A body of at most this much is read before a replica is chosen, so that it can be sent again."""
REPEATED_BYTES = 1024 * 1024
"""The same for services of which any request may be sent again."""
KEPT_BYTES = 64 * 1024 * 1024
"""Of such bodies at a time, in one agent; others are not kept."""


class ClientGoneError(CnetError):
    """Whoever asked has closed the connection; there is nobody to answer."""


class Kept:
    """Bytes of bodies that all requests together hold beyond what each may."""

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._limit = limit
        self.held = 0

    def take(self, size: int) -> bool:
        """Whether there is room for so many more."""
        if self.held + size > self._limit:
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        """They are no longer held."""
        self.held -= size


class RequestBody:
    """`content` is what is in hand; `more` tells that the rest is still to come.

    `length` is the number of bytes in all, None when the client has not said.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        headers: dict[bytes, bytes] = dict(scope["headers"])
        announced = headers.get(b"content-length", b"")
        self.content = b""
        self.length = int(announced) if announced.isdigit() else None
        self.more = True
        self.touched = False
        """whether any of what is not in hand was taken: it cannot be sent a second time"""
        # A chunked one may be half of a conversation: nothing is waited for.
        self._chunked = b"transfer-encoding" in headers

    async def take_in_hand(self) -> None:
        """Read what is small; raises ClientGoneError."""
        if not self._chunked and (self.length or 0) <= IN_HAND_BYTES:
            await self._read(IN_HAND_BYTES)

    @asynccontextmanager
    async def kept_whole(self, kept: Kept) -> AsyncIterator[None]:
        """Read what is not large, for a service that takes any request twice.

        Raises ClientGoneError.
        """
        size = REPEATED_BYTES if self.length is None else self.length
        if not self.more or size > REPEATED_BYTES or not kept.take(size):
            yield
            return
        try:
            await self._read(REPEATED_BYTES)
            yield
        finally:
            kept.give_back(size)

    async def _read(self, limit: int) -> None:
        parts = [self.content]
        size = len(self.content)
        while self.more and size <= limit:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError("the client has closed the connection")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            self.more = message.get("more_body", False)
        self.content = b"".join(parts)
        if not self.more:
            self.length = len(self.content)

    async def rest(self) -> Message:
        """The client's next message behind what is in hand; once that is all, its leaving.

        Raises ClientGoneError when it leaves.
        """
        self.touched = self.touched or self.more
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("the client has closed the connection")
        return message


class AnswerStream:
    """A `send` that remembers whether the client has got the head of an answer.

    A small answer is handed on once it is whole, so that one that breaks off can still be had from
    somebody else.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False
        self.status = 0
        """of the answer, 0 until there is one"""
        self.whole = False
        """all of the answer was handed on"""
        self._kept: list[Message] = []

    async def send(self, message: Message) -> None:
        """Hand on one message; waits while the client is slow."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if _is_small(message):
                self._kept.append(message)
                return
        elif self._kept and message.get("more_body", False):
            self._kept.append(message)
            return
        self.started = True
        for kept in self._kept:
            await self._send(kept)
        self._kept.clear()
        self.whole = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)

    def discard(self) -> None:
        """Another answer is sought; the client has not got anything of this one."""
        self._kept.clear()
        self.status = 0


def _is_small(start: Message) -> bool:
    for name, value in start["headers"]:
        if name == b"content-length":
            return bool(value.isdigit()) and int(value) <= IN_HAND_BYTES
    return False
