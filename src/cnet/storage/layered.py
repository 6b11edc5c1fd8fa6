"""New bytes go to an object store; what was stored on this disk before stays there until it goes.

So a store that has outgrown its disk goes on elsewhere, without a file being copied or lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from cnet.storage.base import Draft, Extent
from cnet.storage.local import LocalBackend
from cnet.storage.s3 import ObjectBackend


class LayeredBackend:
    """Implements StorageBackend."""

    def __init__(self, older: LocalBackend, objects: ObjectBackend) -> None:
        self._older = older
        self._objects = objects

    def create(self, blob: str) -> AbstractAsyncContextManager[Draft]:
        """See StorageBackend."""
        return self._objects.create(blob)

    def join(self, blob: str, parts: Sequence[str]) -> AbstractAsyncContextManager[Draft]:
        """See StorageBackend. What is on this disk altogether is linked there."""
        here = [self._older.holds(part) for part in parts]
        if all(here):
            return self._older.join(blob, parts)
        return self._mix(blob, parts) if any(here) else self._objects.join(blob, parts)

    @asynccontextmanager
    async def _mix(self, blob: str, parts: Sequence[str]) -> AsyncIterator[Draft]:
        async with self._objects.create(blob) as draft:
            for part in parts:
                async with self._whole(part) as content:
                    async for chunk in content:
                        await draft.write(chunk)
            await draft.seal()
            yield draft

    def _whole(self, blob: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        if self._older.holds(blob):
            return self._older.read(blob, 0, self._older.size(blob))
        return self._objects.whole(blob)

    def read(
        self, blob: str, start: int, length: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """See StorageBackend."""
        if self._older.holds(blob):
            return self._older.read(blob, start, length)
        return self._objects.read(blob, start, length)

    def extents(
        self, blob: str, start: int, length: int
    ) -> AbstractAsyncContextManager[Iterator[Extent]] | None:
        """See StorageBackend."""
        return self._older.extents(blob, start, length) if self._older.holds(blob) else None

    def at_hand(self, blob: str, start: int, length: int) -> bytes | None:
        """See StorageBackend."""
        return self._older.at_hand(blob, start, length)

    async def remove(self, blobs: Sequence[str]) -> list[str]:
        """See StorageBackend."""
        here = [blob for blob in blobs if self._older.holds(blob)]
        far = [blob for blob in blobs if blob not in set(here)]
        return await self._older.remove(here) + await self._objects.remove(far)

    async def check(self) -> None:
        """See StorageBackend."""
        await self._objects.check()

    def free(self) -> int | None:
        """None: nobody knows."""

    async def sweep(self, known: Callable[[Collection[str]], set[str]]) -> int:
        """See StorageBackend."""
        return await self._older.sweep(known) + await self._objects.sweep(known)

    def path(self, blob: str) -> str | None:
        """See StorageBackend."""
        return self._older.path(blob) if self._older.holds(blob) else None
