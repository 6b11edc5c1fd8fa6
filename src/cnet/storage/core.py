"""What files and uploads of a store have in common: checks, the commit, and the garbage."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from functools import lru_cache, partial

import anyio
import structlog

from cnet.errors import CnetError, SpecError
from cnet.storage import queries
from cnet.storage.base import Condition, Draft, FileInfo, StorageBackend
from cnet.storage.catalog import Catalog
from cnet.storage.names import check_bucket, check_key
from cnet.storage.receiving import Receiver
from cnet.storage.writer import Apply

log = structlog.get_logger(__name__)

_bucket_name = lru_cache(maxsize=256)(check_bucket)


class Core:
    """A catalogue and a backend that are changed in step.

    Guarded: foreign clients reach it. It does not see buckets whose names begin with a dot (the
    agent's own), and does not change protected keys (`queries.protect`).
    """

    def __init__(self, catalog: Catalog, backend: StorageBackend, *, guarded: bool) -> None:
        self.catalog = catalog
        self.backend = backend
        self.guarded = guarded
        self.receiver = Receiver(catalog, backend)

    def check_bucket(self, bucket: str) -> str:
        """The name, if it may be used here; whether there is one is not looked up."""
        if bucket.startswith(".") and not self.guarded:
            return bucket
        return _bucket_name(bucket)

    def bucket_id(self, bucket: str) -> int:
        """Raises SpecError, NotFoundError."""
        return self.catalog.look(partial(queries.bucket_id, name=self.check_bucket(bucket)))

    def find(self, bucket: str, key: str) -> FileInfo | None:
        """A file without its parts. Raises SpecError, NotFoundError for the bucket."""
        name, encoded = self.check_bucket(bucket), check_key(key)
        return self.catalog.look(partial(queries.look_up, bucket_name=name, key=encoded))

    def check_target(self, bucket: str, key: str, condition: Condition) -> int:
        """Refuse early what the transaction would refuse; returns the size of what goes."""
        present = self.find(bucket, key)
        queries.check_condition(present, condition)
        if self.guarded:
            number = self.bucket_id(bucket)
            self.catalog.look(partial(queries.check_unprotected, bucket=number, key=key.encode()))
        return 0 if present is None else present.size

    async def commit(self, draft: Draft, change: Apply[Sequence[str]]) -> None:
        """Make a draft visible by a change that names it; removes what the change freed."""
        with anyio.CancelScope(shield=True):
            freed = await self.catalog.write(change, needs_room=True, committed=draft.keep)
            await self.collect(freed)

    async def collect(self, blobs: Sequence[str]) -> None:
        """Remove the bytes of blobs that are garbage; what cannot be removed now, a sweep will."""
        if not blobs:
            return
        try:
            gone = await self.backend.remove(blobs)
        except (OSError, CnetError) as error:
            # What freed them is done and durable: it must not look as if it had failed.
            log.warning("garbage_left", blobs=len(blobs), why=str(error))
            return
        self.catalog.post(partial(queries.forget_garbage, blobs=gone))

    async def collect_if_left(self, blob: str) -> None:
        """Remove a blob that could not be removed while it was read."""
        if self.catalog.look(partial(queries.is_garbage, blob=blob)):
            with anyio.CancelScope(shield=True):
                await self.collect([blob])

    async def collect_garbage(self) -> None:
        """Remove the bytes that could not be removed when they were freed."""
        await self.collect(await self.catalog.read(queries.all_garbage))

    async def sweep(self) -> int:
        """Remove what crashes left; safe beside other processes at work; returns the number."""
        await self.collect_garbage()

        def known(blobs: Collection[str]) -> set[str]:
            return self.catalog.read_here(partial(queries.known_blobs, blobs=blobs))

        return await self.backend.sweep(known)


def new_blob() -> str:
    """A name for bytes that has never been used."""
    return uuid.uuid4().hex


def encode(field: str, text: str) -> bytes:
    """The UTF-8 bytes of something that need not be a key. Raises SpecError."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise SpecError(f"{field}: is not Unicode text", field=field) from None
