"""Both directions of one request: the body that comes, and the answer that goes."""

from __future__ import annotations

from starlette.types import Message, Receive, Scope, Send

from cnet.errors import CnetError

IN_HAND_BYTES = 64 * 1024
"""A body of at most this much is read before a replica is chosen, so that it can be sent again."""


class ClientGoneError(CnetError):
    """Whoever asked has closed the connection; there is nobody to answer."""


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
        self._streamed = b"transfer-encoding" in headers or (
            self.length is not None and self.length > IN_HAND_BYTES
        )

    async def take_in_hand(self) -> None:
        """Read what is small; raises ClientGoneError."""
        if self._streamed:
            return
        while self.more and len(self.content) <= IN_HAND_BYTES:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError("the client has closed the connection")
            self.content += message.get("body", b"")
            self.more = message.get("more_body", False)
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
    """A `send` that remembers whether the client has got the head of an answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def send(self, message: Message) -> None:
        """Hand on one message; waits while the client is slow."""
        self.started = True
        await self._send(message)
