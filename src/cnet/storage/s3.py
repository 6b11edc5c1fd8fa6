"""Blobs as objects of any S3-compatible store; the catalogue stays with the node.

No lock reaches there, so the sweep spares whatever is younger than a day. Parts of an upload are
copied together through this node; uploads that broke off are left to the store's own clean-up
(S3: a lifecycle rule for incomplete multipart uploads).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
import obstore
from obstore.exceptions import BaseError
from obstore.exceptions import NotFoundError as NoObjectError
from obstore.store import S3Store

from cnet.errors import NotFoundError, UnreachableError
from cnet.storage.base import Draft, Extent
from cnet.storage.reading import CHUNK_BYTES

if TYPE_CHECKING:  # these exist for type checkers only
    from obstore import AsyncWritableFile, BytesStream
    from obstore.store import ObjectStore, S3Config

SPARED_FOR: Final = timedelta(days=1)
PART_BYTES: Final = 8 * 1024 * 1024


class ObjectBackend:
    """Implements StorageBackend over an `obstore` store, which may have a prefix of its own."""

    def __init__(self, objects: ObjectStore, *, spared_for: timedelta = SPARED_FOR) -> None:
        self._objects = objects
        self._spared_for = spared_for

    @asynccontextmanager
    async def create(self, blob: str) -> AsyncIterator[Draft]:
        """See StorageBackend."""
        draft = _ObjectDraft(self._objects, blob)
        try:
            yield draft
        finally:
            with anyio.CancelScope(shield=True):
                await draft.close()

    @asynccontextmanager
    async def join(self, blob: str, parts: Sequence[str]) -> AsyncIterator[Draft]:
        """See StorageBackend."""
        async with self.create(blob) as draft:
            for part in parts:
                with _far(part):
                    found = await obstore.get_async(self._objects, _path(part))
                    async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
                        await draft.write(bytes(chunk))
            await draft.seal()
            yield draft

    @asynccontextmanager
    async def read(self, blob: str, start: int, length: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """See StorageBackend."""
        if length == 0:
            with _far(blob):
                await obstore.head_async(self._objects, _path(blob))
            yield _nothing()
            return
        with _far(blob):
            found = await obstore.get_async(
                self._objects, _path(blob), options={"range": (start, start + length)}
            )
        yield _pieces(blob, found.stream(min_chunk_size=CHUNK_BYTES))

    def extents(
        self, blob: str, start: int, length: int
    ) -> AbstractAsyncContextManager[Iterator[Extent]] | None:
        """None: nothing of it is on this machine."""

    def at_hand(self, blob: str, start: int, length: int) -> bytes | None:
        """None: nothing of it is on this machine."""

    async def remove(self, blobs: Sequence[str]) -> list[str]:
        """See StorageBackend."""
        gone: list[str] = []
        for blob in blobs:
            await _delete(self._objects, blob)
            gone.append(blob)
        return gone

    def free(self) -> int | None:
        """None: nobody knows."""

    async def sweep(self, known: Callable[[Collection[str]], set[str]]) -> int:
        """See StorageBackend."""
        before = datetime.now(UTC) - self._spared_for
        removed = 0
        with _far("sweep"):
            async for page in obstore.list(self._objects):
                old = [
                    meta["path"].rpartition("/")[2]
                    for meta in page
                    if meta["last_modified"] < before
                ]
                unknown = set(old) - await anyio.to_thread.run_sync(known, old)
                removed += len(await self.remove(sorted(unknown)))
        return removed

    def path(self, blob: str) -> str | None:
        """None: nothing of it is on this machine."""


class _ObjectDraft:
    def __init__(self, objects: ObjectStore, blob: str) -> None:
        self.blob = blob
        self._objects = objects
        self._writer: AsyncWritableFile = obstore.open_writer_async(
            objects, _path(blob), buffer_size=PART_BYTES
        )
        self._kept = False
        self._sealing = False

    async def write(self, data: bytes) -> None:
        """See Draft."""
        with _far(self.blob):
            await self._writer.write(data)

    async def seal(self) -> None:
        """See Draft."""
        self._sealing = True
        with _far(self.blob):
            await self._writer.close()

    def keep(self) -> None:
        """See Draft."""
        self._kept = True

    async def close(self) -> None:
        """Remove it if it is there and is not kept."""
        if self._sealing and not self._kept:
            await _delete(self._objects, self.blob)


async def _delete(objects: ObjectStore, blob: str) -> None:
    try:
        with _far(blob):
            await obstore.delete_async(objects, _path(blob))
    except NotFoundError:
        return


async def _pieces(blob: str, stream: BytesStream) -> AsyncIterator[bytes]:
    with _far(blob):
        async for chunk in stream:
            data = bytes(chunk)  # it gives a buffer of its own
            for start in range(0, len(data), CHUNK_BYTES):
                yield data[start : start + CHUNK_BYTES]


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _path(blob: str) -> str:
    return f"{blob[:2]}/{blob}"


def s3_objects(
    bucket: str,
    *,
    prefix: str = "",
    endpoint: str | None = None,
    region: str = "us-east-1",
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
) -> ObjectStore:
    """A bucket of an S3-compatible store, for `ObjectBackend`.

    Without an endpoint it is Amazon's; without keys they are taken from where AWS's tools look.
    """
    config: S3Config = {"region": region}
    if endpoint is not None:
        config["endpoint"] = endpoint
    if access_key_id is not None and secret_access_key is not None:
        config["access_key_id"] = access_key_id
        config["secret_access_key"] = secret_access_key
    plain = endpoint is not None and endpoint.startswith("http:")
    return S3Store(
        bucket, prefix=prefix or None, config=config, client_options={"allow_http": plain}
    )


@contextmanager
def _far(blob: str) -> Iterator[None]:
    """What the far store's errors are here."""
    try:
        yield
    except (NoObjectError, FileNotFoundError):
        raise NotFoundError(
            f"the bytes {blob} are not there any more", code="no_such_key"
        ) from None
    except (BaseError, OSError) as error:
        raise UnreachableError(f"the object store that holds the data: {error}") from error
