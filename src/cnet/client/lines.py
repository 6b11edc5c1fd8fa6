"""Lines out of a byte stream, ended by a line feed and by nothing else.

`httpx.Response.iter_lines` also ends lines at form feeds, U+2028 and the like, which occur inside
log lines and JSON strings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

LONGEST_LINE = 1 << 20
"""Bytes after which a line is handed out in pieces, so that memory stays bounded."""


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Each line as soon as it is complete, without its line feed; the last one may lack it."""
    pending = bytearray()
    for chunk in chunks:
        *complete, rest = chunk.split(b"\n")
        for line in complete:
            pending += line
            yield bytes(pending)
            pending.clear()
        pending += rest
        if len(pending) > LONGEST_LINE:
            yield bytes(pending)
            pending.clear()
    if pending:
        yield bytes(pending)
