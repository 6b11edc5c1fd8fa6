"""The engine's way of sending two outputs over one stream: a header, a piece, and again. Pure."""

from __future__ import annotations

import struct

STDERR = 2
"""Kinds above it are words of the engine itself."""
_HEADER = struct.Struct(">BxxxL")


class Demultiplexer:
    """Takes such a stream apart, however it was cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Pieces that are complete by now, with their kinds (1: stdout, 2: stderr).

        Raises ValueError when the engine says in it what is wrong.
        """
        data = self._rest + data
        found = []
        at = 0
        while len(data) - at >= _HEADER.size:
            kind, size = _HEADER.unpack_from(data, at)
            start, end = at + _HEADER.size, at + _HEADER.size + size
            if len(data) < end:
                break
            if kind > STDERR:
                raise ValueError(data[start:end].decode(errors="replace").strip())
            found.append((kind, data[start:end]))
            at = end
        self._rest = data[at:]
        return found
