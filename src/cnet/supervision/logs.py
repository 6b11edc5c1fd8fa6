"""Reading the logs that shims write: the last lines, and what comes after them.

The files of a workload are one stream of bytes cut into pieces: `path.1` ends where `path` begins.
They may be renamed at any moment, so an open file is known by its inode. Read-only; never holds
more than it was asked for.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.lowlevel

BLOCK_BYTES = 65_536
MAX_LINE_BYTES = 65_536
MAX_TAIL_BYTES = 1_048_576
CUT_MARK = " …[line cut]"
POLL_INTERVAL_S = 0.1


def tail(path: Path, lines: int, max_bytes: int = MAX_TAIL_BYTES) -> list[str]:
    """The last `lines` lines (all when 0 or less) within the last `max_bytes`, oldest first.

    Undecodable bytes become U+FFFD, lines over 64 KiB are cut with a mark. No file: no lines.
    Blocking, reads backwards no further than needed; may run in a thread.
    """
    fd = _open(path)
    if fd is None:
        return []
    try:
        data = _last_lines(path, fd, lines, max_bytes)
    finally:
        os.close(fd)
    pieces = data.split(b"\n")
    if pieces[-1] == b"":
        pieces.pop()
    return [_text(piece) for piece in pieces]


async def follow(path: Path, lines: int, until_done: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The last `lines` lines, then what is written, until `until_done()` and all is read.

    Yields non-empty chunks, not lines. Survives rotation: pieces are read in order, each to its
    end; only what is deleted before it was looked at (every 0.1 s) is missed.
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


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _piece(path: Path, number: int) -> Path:
    return path if number == 0 else path.with_name(f"{path.name}.{number}")


def _text(line: bytes) -> str:
    if len(line) <= MAX_LINE_BYTES:
        return line.decode(errors="replace")
    return line[:MAX_LINE_BYTES].decode(errors="replace") + CUT_MARK


def _last_lines(
    path: Path, newest: int, lines: int, max_bytes: int, *, end: int | None = None
) -> bytes:
    """The last lines of the stream up to `end` (default: the present end) of the file `newest`."""
    blocks = _blocks_back(newest, lines, max_bytes, end=end)
    inode = os.fstat(newest).st_ino
    number = 0
    while not _enough(blocks, lines, max_bytes):
        number += 1
        fd = _open(_piece(path, number))
        if fd is None:
            break
        try:
            if os.fstat(fd).st_ino != inode:  # else it was renamed since it was opened
                left = max_bytes - sum(map(len, blocks))
                wanted = max(1, lines - sum(block.count(b"\n") for block in blocks))
                wanted = wanted if lines > 0 else 0
                blocks += _blocks_back(fd, wanted, left)
        finally:
            os.close(fd)
    data = b"".join(reversed(blocks))
    return data if lines <= 0 else _cut(data, lines)


def _enough(blocks: list[bytes], lines: int, max_bytes: int) -> bool:
    read = sum(map(len, blocks))
    newlines = sum(block.count(b"\n") for block in blocks)
    return read >= max_bytes or (lines > 0 and newlines > lines)


def _cut(data: bytes, lines: int) -> bytes:
    """`data` from the start of its `lines`-th last line."""
    at = len(data) - 1 if data.endswith(b"\n") else len(data)
    for _ in range(lines):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return data
    return data[at + 1 :]


def _blocks_back(fd: int, lines: int, max_bytes: int, *, end: int | None = None) -> list[bytes]:
    """Blocks from `end` of a file towards its start until they hold more than `lines` lines."""
    blocks: list[bytes] = []
    newlines = 0
    at = os.fstat(fd).st_size if end is None else end
    stop = max(0, at - max_bytes)
    while at > stop and (lines <= 0 or newlines <= lines):
        count = min(BLOCK_BYTES, at - stop)
        at -= count
        block = os.pread(fd, count, at)
        newlines += block.count(b"\n")
        blocks.append(block)
    return blocks


class _Follower:
    """A place in the stream: an open piece and how far it was read."""

    def __init__(self, path: Path, lines: int) -> None:
        self._path = path
        self._first = b""
        if lines <= 0:  # everything that is kept, as for `tail`
            self._fd = self._open_oldest()
            return
        self._fd = _open(path)
        if self._fd is not None:
            end = os.lseek(self._fd, 0, os.SEEK_END)
            self._first = _last_lines(path, self._fd, lines, MAX_TAIL_BYTES, end=end)

    def read(self) -> bytes:
        """The next bytes, or none for now."""
        if self._first:
            first, self._first = self._first, b""
            return first
        if self._fd is None:
            self._fd = self._open_oldest()
            if self._fd is None:
                return b""
        while not (data := os.read(self._fd, BLOCK_BYTES)):
            following = self._open_following(self._fd)
            if following is None:
                return b""
            # It is closed to writing now: what came in before the rename is read first.
            data = os.read(self._fd, BLOCK_BYTES)
            if data:
                os.close(following)
                return data
            os.close(self._fd)
            self._fd = following
        return data

    def _open_oldest(self) -> int | None:
        number = 0
        while _piece(self._path, number + 1).exists():
            number += 1
        return _open(_piece(self._path, number))

    def _open_following(self, fd: int) -> int | None:
        """The piece after the open one; None when that is the newest."""
        while True:
            number = self._number_of(fd)
            if number == 0:
                return None
            following = (
                self._open_oldest() if number is None else _open(_piece(self._path, number - 1))
            )
            # Renamed while we looked: another look.
            if self._number_of(fd) == number:
                return following
            if following is not None:
                os.close(following)

    def _number_of(self, fd: int) -> int | None:
        """Which piece the open file is now; None when it has been deleted."""
        inode = os.fstat(fd).st_ino
        number = 0
        while True:
            with suppress(FileNotFoundError):
                if _piece(self._path, number).stat().st_ino == inode:
                    return number
            number += 1
            if not _piece(self._path, number).exists():
                return None

    def close(self) -> None:
        """Close the open piece."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
