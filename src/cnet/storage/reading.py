"""Reading pieces of files in order, a mebibyte at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from typing import Final, NamedTuple

import anyio.to_thread

from cnet.errors import DamagedError
from cnet.storage.base import Extent

CHUNK_BYTES: Final = 1024 * 1024
AT_ONCE_BYTES: Final = 64 * 1024
"""Up to here bytes that are in the page cache are read without a thread."""


class Segment(NamedTuple):
    """A piece of a file, which is open already where it has a descriptor."""

    path: str
    offset: int
    length: int
    descriptor: int | None = None


def extents_of(segments: Sequence[Segment]) -> Generator[Extent]:
    """Each opened when it is asked for, and closed when the next one is."""
    for segment in segments:
        if segment.descriptor is not None:
            yield Extent(segment.descriptor, segment.offset, segment.length)
            continue
        descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            yield Extent(descriptor, segment.offset, segment.length)
        finally:
            os.close(descriptor)


class FileReader(AsyncIterator[bytes]):
    """The bytes of some pieces. Raises DamagedError where a file is shorter than it was."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._generator = extents_of(segments)
        self._extents: Iterator[Extent] = self._generator
        self._extent: Extent | None = None
        self._done = 0

    def close(self) -> None:
        """Close what is open."""
        self._generator.close()

    async def __anext__(self) -> bytes:
        while self._extent is None or self._done >= self._extent.length:
            try:
                self._extent = next(self._extents)
            except StopIteration:
                raise StopAsyncIteration from None
            self._done = 0
        extent = self._extent
        position = extent.offset + self._done
        size = min(CHUNK_BYTES, extent.length - self._done)
        data = read_cached(extent.descriptor, size, position) if size <= AT_ONCE_BYTES else b""
        if not data:
            data = await anyio.to_thread.run_sync(os.pread, extent.descriptor, size, position)
        if not data:
            raise DamagedError(
                f"a file of stored data ends {extent.length - self._done} bytes too early"
            )
        self._done += len(data)
        return data


def read_cached(descriptor: int, size: int, position: int) -> bytes:
    """What is in memory already; nothing where that would have to wait for the disk."""
    buffer = bytearray(size)
    try:
        count = os.preadv(descriptor, [buffer], position, os.RWF_NOWAIT)
    except BlockingIOError:
        return b""
    except OSError as error:
        if error.errno in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
            return b""
        raise
    return bytes(buffer[:count])
