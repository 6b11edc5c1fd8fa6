"""The store: a catalogue that says what there is, and a backend that holds the bytes.

A put makes a blob of its own, and becomes visible with the one transaction that names it. What it
replaced is noted as garbage in the same transaction, and removed right after; whatever a crash
leaves in between is found by `sweep`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final

import anyio

from cnet._support.clock import now
from cnet.errors import NotFoundError
from cnet.storage import queries
from cnet.storage.base import (
    Attributes,
    Body,
    Condition,
    Draft,
    Entry,
    Expected,
    Extent,
    FileInfo,
    Page,
    Part,
    StorageBackend,
    Upload,
)
from cnet.storage.catalog import Catalog
from cnet.storage.core import Core, encode, new_blob
from cnet.storage.digests import FULL_OBJECT, Digests
from cnet.storage.listing import Listing, list_entries, list_files
from cnet.storage.names import check_key
from cnet.storage.uploads import MIN_PART_BYTES, Uploads
from cnet.storage.writer import T

DELETED_AT_ONCE: Final = 1000
_PLAIN: Final = Attributes()
_ANYTHING: Final = Expected()


class NodeStore:
    """Implements `Store` over any backend; made by `open_store`."""

    def __init__(
        self,
        catalog: Catalog,
        backend: StorageBackend,
        *,
        guarded: bool = False,
        min_part_bytes: int = MIN_PART_BYTES,
    ) -> None:
        self.catalog = catalog
        """for what belongs beside the files, in one transaction with them"""
        self._backend = backend
        self._core = Core(catalog, backend, guarded=guarded)
        self._uploads = Uploads(self._core, min_part_bytes)

    def close(self) -> None:
        """End the threads of its own."""
        self._core.receiver.close()

    # --- files ---------------------------------------------------------------------------------

    async def put(
        self,
        bucket: str,
        key: str,
        body: Body,
        attributes: Attributes = _PLAIN,
        *,
        expected: Expected = _ANYTHING,
        condition: Condition = queries.ALWAYS,
    ) -> FileInfo:
        """See Store."""
        credit = self._core.check_target(bucket, key, condition)
        digests = Digests(expected.checksums)
        async with self._backend.create(new_blob()) as draft:
            await self._core.receiver.receive(body, draft, digests, expected, credit=credit)
            checksums = digests.checksums()
            file = FileInfo(
                bucket=bucket,
                key=key,
                blob=draft.blob,
                size=digests.size,
                etag=digests.md5,
                sha256=digests.sha256,
                content_type=attributes.content_type,
                modified_at=now(),
                metadata=attributes.metadata,
                headers=attributes.headers,
                checksums=checksums,
                checksum_type=FULL_OBJECT if checksums else None,
            )
            await self._commit(draft, file, condition)
        return file

    async def stat(self, bucket: str, key: str) -> FileInfo:
        """See Store."""
        file = self._core.find(bucket, key)
        if file is None:
            raise NotFoundError(f"no file {key!r} in bucket {bucket!r}", code="no_such_key")
        if "-" in file.etag:
            parts = await self.catalog.read(partial(queries.layout, blob=file.blob))
            return replace(file, parts=parts)
        return file

    def open(
        self, file: FileInfo, start: int = 0, length: int | None = None
    ) -> AbstractAsyncContextManager[Body]:
        """See Store."""
        return self._collecting(file, self._backend.read(file.blob, *_range(file, start, length)))

    def extents(
        self, file: FileInfo, start: int = 0, length: int | None = None
    ) -> AbstractAsyncContextManager[Iterator[Extent]] | None:
        """See Store."""
        extents = self._backend.extents(file.blob, *_range(file, start, length))
        return None if extents is None else self._collecting(file, extents)

    def at_hand(self, file: FileInfo, start: int, length: int) -> bytes | None:
        """See Store."""
        return self._backend.at_hand(file.blob, start, length)

    def local_path(self, file: FileInfo) -> str | None:
        """See Store."""
        return self._backend.path(file.blob)

    async def list(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        limit: int = 1000,
        past_group: bool = True,
    ) -> Page[FileInfo]:
        """See Store."""
        asked = self._listing(bucket, prefix, delimiter, after, limit, past_group=past_group)
        return await self.catalog.read(partial(list_files, asked=asked))

    async def entries(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        limit: int = 1000,
        past_group: bool = True,
    ) -> Page[Entry]:
        """See Store."""
        asked = self._listing(bucket, prefix, delimiter, after, limit, past_group=past_group)
        return await self.catalog.read(partial(list_entries, asked=asked))

    async def delete(self, bucket: str, key: str, *, condition: Condition = queries.ALWAYS) -> bool:
        """See Store."""
        return bool(await self._delete(bucket, [key], condition))

    async def delete_many(self, bucket: str, keys: Sequence[str]) -> Sequence[str]:
        """See Store."""
        return await self._delete(bucket, keys, queries.ALWAYS)

    async def delete_prefix(self, bucket: str, prefix: str) -> int:
        """See Store."""
        change = partial(
            queries.delete_below,
            bucket_name=self._core.check_bucket(bucket),
            prefix=encode("prefix", prefix),
            limit=DELETED_AT_ONCE,
            guarded=self._core.guarded,
        )
        deleted = 0
        while True:
            freed = await self.catalog.write(change)
            await self._core.collect(freed)
            deleted += len(freed)
            if len(freed) < DELETED_AT_ONCE:
                return deleted

    async def copy(
        self,
        source: FileInfo,
        bucket: str,
        key: str,
        attributes: Attributes | None = None,
        *,
        condition: Condition = queries.ALWAYS,
    ) -> FileInfo:
        """See Store."""
        credit = self._core.check_target(bucket, key, condition)
        self._core.receiver.check_room(source.size, credit)
        if "-" in source.etag and not source.parts:
            parts = await self.catalog.read(partial(queries.layout, blob=source.blob))
            source = replace(source, parts=parts)
        async with self._backend.join(new_blob(), [source.blob]) as draft:
            file = replace(source, bucket=bucket, key=key, blob=draft.blob, modified_at=now())
            if attributes is not None:
                file = replace(
                    file,
                    content_type=attributes.content_type,
                    metadata=attributes.metadata,
                    headers=attributes.headers,
                )
            await self._commit(draft, file, condition)
        return file

    # --- buckets and room ----------------------------------------------------------------------

    async def create_bucket(self, bucket: str) -> bool:
        """See Store."""
        name = self._core.check_bucket(bucket)
        return await self.catalog.write(
            partial(queries.add_bucket, name=name, now=now()), needs_room=True
        )

    async def delete_bucket(self, bucket: str) -> None:
        """See Store."""
        name = self._core.check_bucket(bucket)
        await self.catalog.write(partial(queries.drop_bucket, name=name))

    async def buckets(self) -> Sequence[tuple[str, float]]:
        """See Store."""
        return await self.catalog.read(queries.all_buckets)

    async def used(self) -> int:
        """See Store."""
        return self.catalog.look(queries.used_bytes)

    async def set_quota(self, quota_bytes: int | None) -> None:
        """Bound what all files and parts may have together; holds for every process at once."""
        await self.catalog.write(partial(queries.set_quota, quota=quota_bytes))

    # --- uploads in parts ----------------------------------------------------------------------

    async def create_upload(
        self,
        bucket: str,
        key: str,
        attributes: Attributes = _PLAIN,
        *,
        checksum: str | None = None,
        checksum_type: str | None = None,
    ) -> str:
        """See Store."""
        return await self._uploads.create(bucket, key, attributes, checksum, checksum_type)

    async def upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        """See Store."""
        return self._uploads.find(bucket, key, upload_id)

    async def put_part(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        body: Body,
        *,
        expected: Expected = _ANYTHING,
    ) -> tuple[Part, Mapping[str, str]]:
        """See Store."""
        upload = self._uploads.find(bucket, key, upload_id)
        return await self._uploads.put_part(upload, number, body, expected)

    async def parts(
        self, bucket: str, key: str, upload_id: str, *, after: int = 0, limit: int = 1000
    ) -> Sequence[tuple[Part, Mapping[str, str]]]:
        """See Store."""
        upload = self._uploads.find(bucket, key, upload_id)
        return await self._uploads.parts(upload, after, limit)

    async def uploads(
        self, bucket: str, *, prefix: str = "", after: tuple[str, str] = ("", ""), limit: int = 1000
    ) -> Sequence[Upload]:
        """See Store."""
        return await self._uploads.all(bucket, prefix, after, limit)

    async def complete_upload(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        parts: Sequence[tuple[int, str]],
        *,
        expected: Expected = _ANYTHING,
        condition: Condition = queries.ALWAYS,
    ) -> FileInfo:
        """See Store."""
        return await self._uploads.complete(bucket, key, upload_id, parts, expected, condition)

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """See Store."""
        await self._uploads.abort(self._uploads.find(bucket, key, upload_id))

    async def abort_uploads(self, *, older_than_s: float) -> int:
        """Forget uploads that were begun long ago; returns their number."""
        return await self._uploads.abort_old(older_than_s)

    async def collect(self, blobs: Sequence[str]) -> None:
        """Remove the bytes of blobs that a change of your own freed (see `queries`)."""
        await self._core.collect(blobs)

    async def check(self) -> None:
        """Whether the bytes can be reached. Raises ConfigError when refused, UnreachableError."""
        await self._backend.check()

    async def collect_garbage(self) -> None:
        """Remove the bytes that could not be removed when they were freed."""
        await self._core.collect_garbage()

    async def sweep(self) -> int:
        """Remove what crashes left; safe beside other processes at work; returns the number."""
        return await self._core.sweep()

    def _listing(
        self, bucket: str, prefix: str, delimiter: str, after: str, limit: int, *, past_group: bool
    ) -> Listing:
        return Listing(
            bucket=self._core.check_bucket(bucket),
            prefix=encode("prefix", prefix),
            delimiter=encode("delimiter", delimiter),
            after=encode("after", after),
            limit=limit,
            past_group=past_group,
        )

    def _collecting(
        self, file: FileInfo, opened: AbstractAsyncContextManager[T]
    ) -> AbstractAsyncContextManager[T]:
        """The same; the last reader of a joined file removes it if it was deleted meanwhile."""
        return self._then_collect(file.blob, opened) if "-" in file.etag else opened

    @asynccontextmanager
    async def _then_collect(
        self, blob: str, opened: AbstractAsyncContextManager[T]
    ) -> AsyncIterator[T]:
        try:
            async with opened as content:
                yield content
        finally:
            await self._core.collect_if_left(blob)

    async def _delete(
        self, bucket: str, keys: Sequence[str], condition: Condition
    ) -> Sequence[str]:
        change = partial(
            queries.delete_files,
            bucket_name=self._core.check_bucket(bucket),
            keys=[check_key(key) for key in keys],
            condition=condition,
            guarded=self._core.guarded,
        )
        with anyio.CancelScope(shield=True):
            deleted, freed = await self.catalog.write(change)
            await self._core.collect(freed)
        return [key.decode() for key in deleted]

    async def _commit(self, draft: Draft, file: FileInfo, condition: Condition) -> None:
        guarded = self._core.guarded
        await self._core.commit(
            draft, partial(queries.put_file, file=file, condition=condition, guarded=guarded)
        )


def _range(file: FileInfo, start: int, length: int | None) -> tuple[int, int]:
    if start < 0 or (length is not None and length < 0):
        raise ValueError("a range begins at 0 or later, and has 0 bytes or more")
    start = min(start, file.size)
    rest = file.size - start
    return start, rest if length is None else min(length, rest)
