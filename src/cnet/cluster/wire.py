"""Messages of a link as WebSocket messages.

- text: one JSON object, told apart by its key `frame`;
- binary, four bytes of a request's number (big-endian, not 0), then a piece of its body; nothing
  after the number: the body has ended;
- binary, four zero bytes, one byte (1: more follows), then a piece of a JSON object too long for
  one message, so that whoever receives it can see that the other end lives;
- binary, empty: a ping, which is not answered.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from cnet.cluster.frames import Frame
from cnet.cluster.hello import Hello, Refused, Seen
from cnet.errors import MalformedError

CHUNK = 64 * 1024
"""bytes of a body, or of a long JSON object, in one WebSocket message"""
MAX_JSON = 32 * 1024 * 1024
"""bytes of one JSON object"""
MAX_MESSAGE = CHUNK + 1024
"""bytes of one WebSocket message"""
PING = b""

_NUMBER = struct.Struct(">I")
_PIECE = b"\0\0\0\0"
_MORE, _LAST = b"\1", b"\0"


class Open(msgspec.Struct, frozen=True, kw_only=True, tag_field="frame"):
    """A request begins; its body follows as pieces."""

    id: int
    """odd for requests of the side that dialled, even for the other's"""
    to: str
    """the node whose application is asked"""
    path: tuple[str, ...]
    """the agents that sent the request on, the first of them first"""
    method: str
    target: str
    """path of the URL as it was sent, percent-encoded"""
    query: str
    headers: tuple[tuple[str, str], ...]


class Head(msgspec.Struct, frozen=True, tag_field="frame"):
    """The reply begins; its body follows as pieces."""

    id: int
    status: int
    headers: tuple[tuple[str, str], ...]


class Credit(msgspec.Struct, frozen=True, tag_field="frame"):
    """`size` more bytes of a body may be sent."""

    id: int
    size: int


class Reset(msgspec.Struct, frozen=True, tag_field="frame"):
    """The request is given up by whoever asked, or its reply will not come or not be completed."""

    id: int
    details: str


Message = Hello | Seen | Refused | Open | Head | Credit | Reset | Frame

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def encode(message: Message) -> list[str | bytes]:
    """The WebSocket messages that carry a message, in order."""
    data = _encoder.encode(message)
    if len(data) <= CHUNK:
        return [data.decode()]
    return [
        _PIECE + (_MORE if start + CHUNK < len(data) else _LAST) + data[start : start + CHUNK]
        for start in range(0, len(data), CHUNK)
    ]


def decode(data: str | bytes) -> Message:
    """Raises MalformedError."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedError(f"message: {error}") from None


def body_pieces(number: int, data: bytes | memoryview) -> Iterator[bytes]:
    """A body, or a part of one, as WebSocket messages."""
    head = _NUMBER.pack(number)
    for start in range(0, len(data), CHUNK):
        yield head + data[start : start + CHUNK]


def body_end(number: int) -> bytes:
    """The message that says that a body has ended."""
    return _NUMBER.pack(number)


class Assembler:
    """WebSocket messages back into messages and pieces of bodies."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: str | bytes) -> Message | tuple[int, bytes] | None:
        """A message, (number, piece of a body), or None: a ping, or more is to come.

        Raises MalformedError.
        """
        if isinstance(data, str):
            return decode(data)
        if not data:
            return None
        if len(data) < _NUMBER.size:
            raise MalformedError("message: a binary one is shorter than the number it begins with")
        if not data.startswith(_PIECE):
            return _NUMBER.unpack_from(data)[0], data[_NUMBER.size :]
        return self._feed_piece(data[_NUMBER.size :])

    def _feed_piece(self, data: bytes) -> Message | None:
        flag, piece = data[:1], data[1:]
        self._size += len(piece)
        if flag not in (_MORE, _LAST) or self._size > MAX_JSON:
            raise MalformedError(f"message: no piece of a JSON object of at most {MAX_JSON} bytes")
        self._pieces.append(piece)
        if flag == _MORE:
            return None
        whole = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return decode(whole)
