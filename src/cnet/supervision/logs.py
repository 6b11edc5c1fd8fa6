"""Reading the logs that shims write: the last lines, and what comes after them.

The files of a workload are one stream of bytes cut into pieces (`path.1` ends where `path` begins).
Read-only; never holds more than it was asked for.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import anyio.lowlevel

BLOCK_BYTES = 65_536
MAX_LINE_BYTES = 65_536
CUT_MARK = " …[line cut]"
POLL_INTERVAL_S = 0.1


def tail(path: Path, lines: int, max_bytes: int = 1_048_576) -> list[str]:
    """The last `lines` lines (all when 0 or less) within the last `max_bytes`, oldest first.

    Undecodable bytes become U+FFFD, lines over 64 KiB are cut with a mark. No file: no lines.
    """
    data = _read_back(path, lines, max_bytes)
    pieces = data.split(b"\n")
    if pieces[-1] == b"":
        pieces.pop()
    chosen = pieces[-lines:] if lines > 0 else pieces
    return [_text(piece) for piece in chosen]


def _text(line: bytes) -> str:
    if len(line) <= MAX_LINE_BYTES:
        return line.decode(errors="replace")
    return line[:MAX_LINE_BYTES].decode(errors="replace") + CUT_MARK


def _read_back(path: Path, lines: int, max_bytes: int) -> bytes:
    """Enough of the end of the stream for `lines` whole lines, in blocks from the back."""
    blocks: list[bytes] = []
    newlines = left = 0
    left = max_bytes
    for piece in _pieces(path):
        try:
            fd = os.open(piece, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            break
        try:
            at = os.fstat(fd).st_size
            while at > 0 and left > 0 and (lines <= 0 or newlines <= lines):
                count = min(BLOCK_BYTES, at, left)
                at -= count
                left -= count
                block = os.pread(fd, count, at)
                newlines += block.count(b"\n")
                blocks.append(block)
        finally:
            os.close(fd)
    return b"".join(reversed(blocks))


def _pieces(path: Path) -> list[Path]:
    """The files of the stream, newest first."""
    found = [path]
    while (older := path.with_name(f"{path.name}.{len(found)}")).exists():
        found.append(older)
    return found


async def follow(path: Path, lines: int, until_done: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The last `lines` lines, then what is written, until `until_done()` and all is read.

    Yields non-empty chunks, not lines. Survives rotation: a file is read to its end before the next is
    begun. What is rotated away twice between two looks (0.1 s) is missed.
    """
    follower = _Follower(path, lines)
    try:
        while True:
            done = until_done()  # asked first: what was written before it is then still read
            while chunk := follower.read():
                yield chunk
                await anyio.lowlevel.checkpoint()
            if done:
                return
            await anyio.sleep(POLL_INTERVAL_S)
    finally:
        follower.close()


class _Follower:
    def __init__(self, path: Path, lines: int) -> None:
        self._path = path
        self._fd = -1
        self._first = _join(tail(path, lines)) if lines > 0 else b""
        self._from_end = True

    def read(self) -> bytes:
        first, self._first = self._first, b""
        if self._fd < 0 and not self._open():
            return first
        if first:
            return first
        data = os.read(self._fd, BLOCK_BYTES)
        if data or not self._is_rotated():
            return data
        # Written between the look and the rename: the old file's last bytes come first.
        data = os.read(self._fd, BLOCK_BYTES)
        if not data:
            self.close()
            return self.read() if self._path.exists() else b""
        return data

    def _open(self) -> bool:
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._from_end = False
            return False
        if self._from_end:
            os.lseek(self._fd, 0, os.SEEK_END)
            self._from_end = False
        return True

    def _is_rotated(self) -> bool:
        try:
            return os.stat(self._path).st_ino != os.fstat(self._fd).st_ino
        except FileNotFoundError:
            return False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _join(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode(errors="replace")
