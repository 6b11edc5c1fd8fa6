"""Taking in a body: bounded memory, hashed on the way, refused as soon as there is no room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Final

import anyio.to_thread

from cnet.errors import DigestError, StorageFullError
from cnet.storage.base import Body, Draft, Expected, StorageBackend
from cnet.storage.catalog import Catalog
from cnet.storage.digests import INLINE_BYTES, Digests
from cnet.storage.queries import quota_bytes, used_bytes

_BATCHES_BYTES: Final = 16 * 1024 * 1024  # of all bodies that are under way together
_LARGEST_BATCH: Final = 1024 * 1024
_SMALLEST_BATCH: Final = 64 * 1024


class Receiver:
    """What all puts of a process share: threads for hashing, and a count of what is under way."""

    def __init__(self, catalog: Catalog, backend: StorageBackend) -> None:
        self._catalog = catalog
        self._backend = backend
        self._under_way = 0
        self._bodies = 0
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="md5")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def check_room(self, more: int, credit: int = 0) -> None:
        """Raises StorageFullError if `more` bytes have no room now; `credit` are to be freed."""
        quota = self._catalog.look(quota_bytes)
        if quota is not None:
            used = self._catalog.look(used_bytes)
            if used + self._under_way + more - credit > quota:
                raise StorageFullError(
                    f"the quota of stored data is {quota} bytes; {used} are used, "
                    f"{self._under_way} under way, {more} more were to come",
                    code="quota_exceeded",
                )
        free = self._backend.free()
        if free is not None and more > free:
            raise StorageFullError(
                f"the disk that holds the stored data has {free} bytes left, {more} were to come"
            )

    async def receive(
        self, body: Body, draft: Draft, digests: Digests, expected: Expected, *, credit: int = 0
    ) -> None:
        """Write a body into a draft, sealed at the end if it is what was expected.

        Raises DigestError, StorageFullError, and what the body raises.
        """
        self.check_room(expected.size or 0, credit)
        with self._counting() as count:
            batch: list[bytes] = []
            waiting = 0
            async for chunk in body:
                batch.append(chunk)
                waiting += len(chunk)
                if waiting >= self._batch_bytes():
                    _check_size(digests.size + waiting, expected.size)
                    count(waiting)
                    self.check_room(0, credit)
                    await self._take(_joined(batch), draft, digests)
                    waiting = 0
            if waiting:
                await self._take(_joined(batch), draft, digests)
            digests.check(
                size=expected.size,
                md5=expected.md5,
                sha256=expected.sha256,
                checksums=expected.checksums,
            )
            await draft.seal()

    def _batch_bytes(self) -> int:
        """The more bodies come in at once, the less is gathered of each."""
        return max(_SMALLEST_BATCH, min(_LARGEST_BATCH, _BATCHES_BYTES // self._bodies))

    async def _take(self, data: bytes, draft: Draft, digests: Digests) -> None:
        if len(data) <= INLINE_BYTES:
            digests.update(data, None)
        else:
            await anyio.to_thread.run_sync(partial(digests.update, data, self._pool))
        await draft.write(data)

    @contextmanager
    def _counting(self) -> Iterator[Callable[[int], None]]:
        """Counts bytes as under way until the end; then the catalogue counts them."""
        mine = 0
        self._bodies += 1

        def count(size: int) -> None:
            nonlocal mine
            mine += size
            self._under_way += size

        try:
            yield count
        finally:
            self._bodies -= 1
            self._under_way -= mine


def _joined(batch: list[bytes]) -> bytes:
    """One piece; the batch is empty then, so that nothing is held twice while it is written."""
    data = b"".join(batch)
    batch.clear()
    return data


def _check_size(size: int, announced: int | None) -> None:
    """Stops a body that goes on behind its end."""
    if announced is not None and size > announced:
        raise DigestError(f"size: announced was {announced}, {size} came already", field="size")
