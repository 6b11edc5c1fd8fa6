"""Copies of files that other nodes store: named by their SHA-256, bounded, the longest unused go.

A file is brought once, however many want it at the same time. One that is linked somewhere else
as well is in use, and stays.
"""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from cnet.errors import DigestError, ExecutionError, StorageFullError
from cnet.storage.cached_keys import CachedKeys

log = structlog.get_logger(__name__)

PART = ".part"
BUFFER_BYTES = 1024**2

Write = Callable[[bytes], Awaitable[None]]
Bring = Callable[[Write], Awaitable[None]]


@contextmanager
def room_wanted() -> Iterator[None]:
    """Turns the errors of a full disk into StorageFullError."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFullError(
                "the disk is full; data could not be brought to the run"
            ) from error
        raise


@dataclass(slots=True)
class _Entry:
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    users: int = 0


class FileCache:
    """Files in one folder, which belongs to one process at a time. Call `open` before anything."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._entries: dict[str, _Entry] = {}
        self._taken = 0
        self._sizes: dict[str, int] = {}
        """what is there: SHA-256 → bytes"""
        self._keys = CachedKeys(folder.with_name(f"{folder.name}-keys.json"))
        self._promised = 0
        self.changes = 0
        """counts what has come, gone, or been noted"""
        self._room = anyio.Lock()

    def open(self) -> None:
        """Make the folder, and remove what was being brought when a process died. Blocking."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sizes = {}
        for entry in os.scandir(self._folder):
            if entry.name.endswith(PART):
                Path(entry.path).unlink()
            else:
                self._sizes[entry.name] = entry.stat().st_size
        self._taken = sum(self._sizes.values())
        self._keys.load()

    def held(self) -> dict[str, int]:
        """Data key → bytes of its files that are here, as far as that was noted."""
        return self._keys.held(self._sizes)

    async def note(self, data_key: str, files: Mapping[str, int]) -> None:
        """Remember for which data files (SHA-256 → bytes) were brought."""
        if self._keys.note(data_key, files):
            self.changes += 1
            try:
                await self._keys.save()
            except OSError as error:
                log.warning("cached_keys_not_saved", why=str(error))

    def has(self, sha256: str) -> bool:
        """Whether the file of that digest is here now."""
        return sha256 in self._sizes

    @asynccontextmanager
    async def hold(self, sha256: str, size: int, bring: Bring) -> AsyncIterator[Path]:
        """The file of that digest, which stays for as long as the block lasts.

        If it is not there, `bring` writes it. Raises what that raises; DigestError when it brings
        something else; ExecutionError (`cache_full`), StorageFullError.
        """
        path = self._folder / sha256
        entry = self._entries.setdefault(sha256, _Entry())
        entry.users += 1
        try:
            async with entry.lock:
                if not await self._touch(path):
                    await self._bring(path, size, bring)
            yield path
        finally:
            entry.users -= 1
            if not entry.users:
                del self._entries[sha256]

    async def _touch(self, path: Path) -> bool:
        async with self._room:  # nothing is being evicted now, and what is held will not be
            try:
                os.utime(path)
            except FileNotFoundError:
                return False
            return True

    async def _bring(self, path: Path, size: int, bring: Bring) -> None:
        async with self._room:
            excess = self._taken + self._promised + size - self._max_bytes
            if excess > 0 and size <= self._max_bytes:
                gone = await anyio.to_thread.run_sync(self._evict, excess, frozenset(self._entries))
                freed = sum(self._sizes.pop(name, 0) for name in gone)
                self._taken -= freed
                excess -= freed
                self.changes += 1
            if excess > 0:
                raise ExecutionError(
                    f"no room for {size} bytes beside what runs use; storage.cache_bytes is "
                    f"{self._max_bytes}",
                    code="cache_full",
                )
            self._promised += size
        try:
            await _receive(path, size, bring)
            self._taken += size - self._sizes.get(path.name, 0)  # somebody may have removed it
            self._sizes[path.name] = size
            self.changes += 1
        finally:
            self._promised -= size

    def _evict(self, wanted: int, held: Collection[str]) -> list[str]:
        """Remove the longest unused until so many bytes are free; which have gone."""
        files = [
            (entry.stat(), entry)
            for entry in os.scandir(self._folder)
            if not entry.name.endswith(PART)
        ]
        freed = 0
        gone = []
        for status, entry in sorted(files, key=lambda file: file[0].st_mtime_ns):
            if freed >= wanted:
                break
            if entry.name in held or status.st_nlink > 1:
                continue
            Path(entry.path).unlink()
            freed += status.st_size
            gone.append(entry.name)
        return gone


async def _receive(path: Path, size: int, bring: Bring) -> None:
    part = _Part(path.with_name(f"{path.name}.{uuid.uuid4().hex}{PART}"))
    await anyio.to_thread.run_sync(part.open)
    try:
        await bring(part.write)
        await part.flush()
        if part.size != size or part.digest != path.name:
            raise DigestError(
                f"{part.size} bytes with SHA-256 {part.digest} came instead of {size} with "
                f"{path.name}",
                field="sha256",
            )
        await anyio.to_thread.run_sync(partial(part.finish, path))
    finally:
        part.close()


class _Part:
    """A file in the making; what is written is hashed on the way, both in threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self.size = 0

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o400)

    async def write(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= BUFFER_BYTES:
            await self.flush()

    async def flush(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        await anyio.to_thread.run_sync(self._put, data)

    def _put(self, data: bytes) -> None:
        self._hash.update(data)
        self.size += len(data)
        view = memoryview(data)
        with room_wanted():
            while view:
                view = view[os.write(self._descriptor, view) :]

    def finish(self, path: Path) -> None:
        with room_wanted():
            os.fsync(self._descriptor)  # a name must never stand for half of it
        self._path.rename(path)

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
