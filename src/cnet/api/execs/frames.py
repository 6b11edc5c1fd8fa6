"""Pieces of a conversation with a command: a header, then so many bytes. Pure."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any

import orjson

from cnet.errors import MalformedError

MEDIA_TYPE = "application/vnd.cnet.exec"
MAX_BYTES = 1024 * 1024
_HEADER = struct.Struct(">BL")


class Kind(IntEnum):
    """What a piece is."""

    WORDS = 0
    """a JSON object"""
    DATA = 1
    """what the command reads, or says"""
    ERROR_DATA = 2
    """what it says on its second output"""


def pack(kind: Kind, data: bytes) -> bytes:
    """One piece."""
    return _HEADER.pack(kind, len(data)) + data


def words(**content: Any) -> bytes:
    """One piece of words."""
    return pack(Kind.WORDS, orjson.dumps(content))


class Frames:
    """Takes a body apart, however it was cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[Kind, bytes]]:
        """Pieces that are complete by now. Raises MalformedError."""
        data = self._rest + data
        found = []
        at = 0
        while len(data) - at >= _HEADER.size:
            kind, size = _HEADER.unpack_from(data, at)
            if kind > Kind.ERROR_DATA or size > MAX_BYTES:
                raise MalformedError(
                    f"body: not of {MEDIA_TYPE}, or with a piece over {MAX_BYTES} bytes"
                )
            start, end = at + _HEADER.size, at + _HEADER.size + size
            if len(data) < end:
                break
            found.append((Kind(kind), data[start:end]))
            at = end
        self._rest = data[at:]
        return found


def said(data: bytes) -> dict[str, Any]:
    """The object of a piece of words. Raises MalformedError."""
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"body: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise MalformedError("body: words must be a JSON object")
    return content
