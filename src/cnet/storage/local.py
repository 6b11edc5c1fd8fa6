"""Blobs as files: `blobs/ab/<id>`, made in `tmp/`, synced and renamed before a row names them.

A blob that was joined out of several is a directory of hard links, each named by its offset: no
byte is copied, and an upload of many gigabytes is complete at once. Whoever makes a blob holds a
shared lock on it (flock, which dies with its holder) until the catalogue knows it; the sweep takes
what nobody knows only with an exclusive one. A directory is locked while it is read, too, because
its files are opened one by one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

import anyio
import anyio.to_thread

from cnet.errors import NotFoundError, StorageFullError
from cnet.storage.ballast import DISK_FULL
from cnet.storage.base import Draft, Extent
from cnet.storage.cleaning import ID, READ, remove, sweep, unlink
from cnet.storage.joined import Layouts, name_at
from cnet.storage.reading import FileReader, Segment, extents_of, read_cached

_SHARDS: Final = [f"{number:02x}" for number in range(256)]


class _Closes(Protocol):
    def close(self) -> None: ...


R = TypeVar("R", bound=_Closes)


class LocalBackend:
    """Everything below one directory, which must be on one file system."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs"
        self._text = str(self._blobs)
        self._tmp = root / "tmp"
        self._layouts = Layouts()

    def open(self) -> None:
        """Make the directories that are missing. Raises OSError."""
        self._tmp.mkdir(mode=0o700, exist_ok=True)
        self._blobs.mkdir(mode=0o700, exist_ok=True)
        for shard in _SHARDS:
            (self._blobs / shard).mkdir(mode=0o700, exist_ok=True)
        for directory in (self._blobs, self._blobs.parent):
            _sync(directory)

    # --- making --------------------------------------------------------------------------------

    @asynccontextmanager
    async def create(self, blob: str) -> AsyncIterator[Draft]:
        """See StorageBackend."""
        draft = await anyio.to_thread.run_sync(self._begin, blob)
        try:
            yield draft
        finally:
            await _finish(draft)

    @asynccontextmanager
    async def join(self, blob: str, parts: Sequence[str]) -> AsyncIterator[Draft]:
        """See StorageBackend."""
        draft = await anyio.to_thread.run_sync(self._link, blob, list(parts))
        try:
            yield draft
        finally:
            await _finish(draft)

    def _begin(self, blob: str) -> _LocalDraft:
        temporary = self._tmp / blob
        while True:
            with _full_disk():
                descriptor = os.open(
                    temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
                )
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if _is_there(temporary, descriptor):
                return _LocalDraft(descriptor, temporary, self._file(blob))
            os.close(descriptor)  # a sweep found it before it was locked

    def _link(self, blob: str, parts: list[str]) -> _LocalDraft:
        segments = [segment for part in parts for segment in self._segments(part)]
        segments = [segment for segment in segments if segment.length] or segments[:1]
        if len(segments) == 1:
            return self._link_file(blob, segments[0])
        return self._link_all(blob, segments)

    def _link_file(self, blob: str, segment: Segment) -> _LocalDraft:
        target = self._file(blob)
        with _gone(Path(segment.path)), _full_disk():
            descriptor = os.open(segment.path, READ)
            draft = _LocalDraft(descriptor, None, target)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                _link_or_copy(segment.path, target)
                _sync(target.parent)
            except BaseException:
                draft.close()
                raise
        return draft

    def _link_all(self, blob: str, segments: Sequence[Segment]) -> _LocalDraft:
        temporary = self._tmp / blob
        with _full_disk():
            while True:
                temporary.mkdir(mode=0o700)
                with suppress(FileNotFoundError):  # a sweep found it before it was locked
                    descriptor = os.open(temporary, READ | os.O_DIRECTORY)
                    fcntl.flock(descriptor, fcntl.LOCK_SH)
                    if _is_there(temporary, descriptor):
                        break
                    os.close(descriptor)
            draft = _LocalDraft(descriptor, temporary, self._file(blob))
            try:
                offset = 0
                for segment in segments:
                    with _gone(Path(segment.path)):
                        _link_or_copy(segment.path, temporary / name_at(offset))
                    offset += segment.length
                draft.settle()
            except BaseException:
                draft.close()
                raise
        return draft

    # --- reading -------------------------------------------------------------------------------

    def read(
        self, blob: str, start: int, length: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """See StorageBackend."""
        return _Reading(self, blob, start, length, FileReader)

    def extents(
        self, blob: str, start: int, length: int
    ) -> AbstractAsyncContextManager[Iterator[Extent]]:
        """See StorageBackend."""
        return _Reading(self, blob, start, length, extents_of)

    def at_hand(self, blob: str, start: int, length: int) -> bytes | None:
        """See StorageBackend."""
        try:
            descriptor = os.open(self._name(blob), READ)
        except FileNotFoundError:
            return None
        try:
            data = read_cached(descriptor, length, start)
        except IsADirectoryError:
            return None
        finally:
            os.close(descriptor)
        return data if len(data) == length else None

    def path(self, blob: str) -> str | None:
        """See StorageBackend."""
        path = self._file(blob)
        return None if path.is_dir() else str(path)

    def open_for_reading(self, blob: str, start: int, length: int) -> tuple[int, list[Segment]]:
        """A descriptor, and the pieces of a range, which can be opened until it is closed.

        Opening a file takes microseconds, less than a thread would.
        """
        name = self._name(blob)
        try:
            descriptor = os.open(name, READ)
        except FileNotFoundError:
            raise _no_blob(Path(name)) from None
        try:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                return descriptor, [Segment(name, start, length, descriptor)]
            path = Path(name)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if not _is_there(path, descriptor):
                raise _no_blob(path)
            with _gone(path):
                return descriptor, self._layouts.cut(path, start, length)
        except BlockingIOError:
            os.close(descriptor)
            raise _no_blob(Path(name)) from None  # it is being removed
        except BaseException:
            os.close(descriptor)
            raise

    def _segments(self, blob: str) -> list[Segment]:
        path = self._file(blob)
        with _gone(path):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                return self._layouts.segments(path)
        return [Segment(str(path), 0, status.st_size)]

    def holds(self, blob: str) -> bool:
        """Whether it is here."""
        return os.path.lexists(f"{self._text}/{_checked(blob)[:2]}/{blob}")

    def size(self, blob: str) -> int:
        """In bytes. Raises NotFoundError."""
        return sum(segment.length for segment in self._segments(blob))

    # --- removing ------------------------------------------------------------------------------

    async def remove(self, blobs: Sequence[str]) -> list[str]:
        """See StorageBackend."""
        if not blobs:
            return []
        return await anyio.to_thread.run_sync(
            lambda: [blob for blob in blobs if remove(self._file(blob))]
        )

    async def check(self) -> None:
        """It is there: `open` has seen to that."""

    def free(self) -> int | None:
        """See StorageBackend."""
        status = os.statvfs(self._blobs)
        return status.f_bavail * status.f_frsize

    async def sweep(self, known: Callable[[Collection[str]], set[str]]) -> int:
        """See StorageBackend."""
        removed = 0
        for directory in [self._tmp, *(self._blobs / shard for shard in _SHARDS)]:
            removed += await anyio.to_thread.run_sync(
                partial(sweep, directory, known), abandon_on_cancel=False
            )
        return removed

    def _name(self, blob: str) -> str:
        return f"{self._text}/{_checked(blob)[:2]}/{blob}"

    def _file(self, blob: str) -> Path:
        return self._blobs / _checked(blob)[:2] / blob


def _checked(blob: str) -> str:
    if not ID.fullmatch(blob):
        raise ValueError(f"no id of a blob: {blob!r}")
    return blob


class _Reading(AbstractAsyncContextManager[R]):
    """An opened range of a blob, given as whatever `make` makes of its pieces."""

    def __init__(
        self,
        backend: LocalBackend,
        blob: str,
        start: int,
        length: int,
        make: Callable[[Sequence[Segment]], R],
    ) -> None:
        self._asked = (blob, start, length)
        self._backend = backend
        self._make = make

    async def __aenter__(self) -> R:
        self._descriptor, pieces = self._backend.open_for_reading(*self._asked)
        self._made = self._make(pieces)
        return self._made

    async def __aexit__(self, *_: object) -> None:
        try:
            self._made.close()
        finally:
            os.close(self._descriptor)


class _LocalDraft:
    """A blob in the making, locked by its open descriptor."""

    def __init__(self, descriptor: int, temporary: Path | None, target: Path) -> None:
        self._descriptor = descriptor
        self._temporary = temporary
        self._target = target
        self._kept = False
        self.blob = target.name

    async def write(self, data: bytes) -> None:
        """See Draft."""
        await anyio.to_thread.run_sync(self._write, data)

    async def seal(self) -> None:
        """See Draft."""
        await anyio.to_thread.run_sync(self.settle)

    def keep(self) -> None:
        """See Draft."""
        self._kept = True

    def settle(self) -> None:
        """Sync it and give it its name."""
        if self._temporary is None:
            return
        with _full_disk():
            os.fsync(self._descriptor)
            self._temporary.rename(self._target)
            _sync(self._target.parent)

    def close(self) -> None:
        """Remove what is not kept; unlock."""
        try:
            if not self._kept:
                for path in (self._temporary, self._target):
                    if path is not None:
                        unlink(path)
        finally:
            os.close(self._descriptor)

    def _write(self, data: bytes) -> None:
        with _full_disk():
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]


async def _finish(draft: _LocalDraft) -> None:
    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(draft.close)


def _link_or_copy(source: str, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno in DISK_FULL or isinstance(error, FileNotFoundError | FileExistsError):
            raise
        # too many links, or a file system without them
        shutil.copyfile(source, target)
        _sync(target)


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _no_blob(path: Path) -> NotFoundError:
    return NotFoundError(f"the bytes {path.name} are not there any more", code="no_such_key")


@contextmanager
def _gone(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise _no_blob(path) from None


@contextmanager
def _full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise StorageFullError(
                "the disk that holds the stored data is full; nothing was stored"
            ) from error
        raise
