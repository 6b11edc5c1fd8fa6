"""Data objects: named files or trees of files that belong to a data workload.

An object's files lie in the default bucket under `<data key>/<path>`, where gateways serve them;
those of an exclusive one lie in a hidden bucket. They are staged in another hidden bucket and
become visible together with the object's row, in one transaction.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import anyio

from cnet._support import clock
from cnet.errors import CnetError, ForbiddenError, NotFoundError, SpecError
from cnet.storage import object_rows, queries
from cnet.storage.base import Attributes, Body, Expected, FileInfo
from cnet.storage.core import encode
from cnet.storage.listing import Listing, list_files
from cnet.storage.names import check_relative_path
from cnet.storage.object_rows import (
    DEFAULT_BUCKET,
    EXCLUSIVE,
    HELD,
    PATH_BYTES,
    STAGING,
    Contents,
    DataObject,
)
from cnet.storage.store import NodeStore

__all__ = ["Contents", "DataObject", "DataObjects"]


class DataObjects:
    """The data objects of a store. `open` it once per process before anything else."""

    def __init__(self, store: NodeStore) -> None:
        self.store = store
        self._catalog = store.catalog
        self.on_change: Callable[[], None] = lambda: None
        """Called when this process has changed what is stored, before it is told."""

    async def open(self) -> None:
        """Make the buckets, where they are missing."""

        def apply(connection: sqlite3.Connection) -> None:
            for bucket in (DEFAULT_BUCKET, STAGING, EXCLUSIVE):
                queries.add_bucket(connection, bucket, clock.now())

        there = {row[0] for row in self._catalog.look(object_rows.bucket_names)}
        if not {DEFAULT_BUCKET, STAGING, EXCLUSIVE} <= there:  # a full disk takes no write
            await self._catalog.write(apply)

    # --- looking -------------------------------------------------------------------------------

    def get(self, data_key: str) -> DataObject:
        """Raises NotFoundError."""
        found = self.find(data_key)
        if found is None:
            raise NotFoundError(f"no data object {data_key!r} on this node", code="no_such_data")
        return found

    def find(self, data_key: str) -> DataObject | None:
        """The object of that key, if there is one."""
        if not object_rows.is_text(data_key):
            return None
        return self._catalog.look(lambda connection: object_rows.find(connection, data_key))

    def of_workload(self, workload_id: str) -> DataObject | None:
        """The object that a workload has stored."""
        return self._catalog.look(
            lambda connection: object_rows.one(connection, "workload_id = ?", workload_id)
        )

    async def contents(self, item: DataObject, *, limit: int = HELD) -> Contents:
        """What it holds now."""
        return await self._catalog.read(
            lambda connection: object_rows.contents(connection, item, limit)
        )

    async def page(self, *, after: str = "", limit: int = 100) -> list[Contents]:
        """Objects behind a data key, in the order of the keys, without their files."""

        return await self._catalog.read(
            lambda connection: object_rows.page(connection, after, limit)
        )

    def mark(self) -> object:
        """Equal to an earlier one only if no object has become larger or smaller, come or gone."""
        return self._catalog.look(object_rows.mark)

    async def largest(self, limit: int) -> list[tuple[str, int]]:
        """Keys of the objects with the most bytes, and how many."""
        return await self._catalog.read(lambda connection: object_rows.largest(connection, limit))

    async def view(
        self, item: DataObject, *, after: str = "", limit: int = 1000
    ) -> tuple[Contents, Sequence[FileInfo]]:
        """What it holds, and its files behind a path, at one moment. Raises NotFoundError."""
        asked = Listing(
            bucket=item.bucket,
            prefix=item.prefix.encode(),
            delimiter=b"",
            after=encode("after", item.prefix + after) if after else b"",
            limit=limit,
            past_group=True,
        )

        def read(connection: sqlite3.Connection) -> tuple[Contents, Sequence[FileInfo]]:
            present = object_rows.find(connection, item.data_key)
            if present is None or present.workload_id != item.workload_id:
                raise _deleted(item.data_key)
            return object_rows.contents(connection, present, 1), list_files(connection, asked).files

        return await self._catalog.read(read)

    async def file(self, item: DataObject, path: str) -> FileInfo:
        """One of its files. Raises NotFoundError."""
        try:
            return await self.store.stat(item.bucket, item.prefix + path)
        except (NotFoundError, SpecError):
            raise NotFoundError(
                f"data object {item.data_key!r} has no file {path!r}", code="no_such_file"
            ) from None

    # --- storing -------------------------------------------------------------------------------

    async def stage(
        self,
        stage: str,
        path: str,
        body: Body,
        *,
        content_type: str,
        expected: Expected = Expected(),  # noqa: B008 - frozen
    ) -> FileInfo:
        """Store a file where nobody sees it yet; raises what `Store.put` raises."""
        check_relative_path(path)
        if len(path.encode()) > PATH_BYTES:
            raise SpecError(f"path: more than {PATH_BYTES} bytes of UTF-8", field="path")
        return await self.store.put(
            STAGING,
            f"{stage}/{path}",
            body,
            Attributes(content_type=content_type),
            expected=expected,
        )

    async def publish(self, stage: str, item: DataObject) -> DataObject:
        """Make what was staged the content of an object, in place of what the workload had.

        Durable on return. Raises ConflictError (`data_key_taken`), StorageFullError.
        """

        def apply(connection: sqlite3.Connection) -> list[str]:
            return object_rows.publish(connection, stage, item)

        item = replace(item, created_at=item.created_at or clock.now(), updated_at=clock.now())
        with anyio.CancelScope(shield=True):
            freed = await self._catalog.write(apply, needs_room=True)
            await self.store.collect(freed)
        self.on_change()
        return item

    async def unstage(self, stage: str) -> None:
        """Delete what was staged; harmless when there is nothing."""
        with anyio.CancelScope(shield=True):
            await self.store.delete_prefix(STAGING, f"{stage}/")
        self.on_change()

    async def put(
        self, item: DataObject, path: str, body: Body, *, content_type: str, expected: Expected
    ) -> FileInfo:
        """Store one file of an object that is not readonly. Raises ForbiddenError (`read_only`)."""
        self._require_writable(item)
        check_relative_path(path, data_key=item.data_key)
        stage = f"put.{uuid.uuid4().hex}"
        info = await self.stage(stage, path, body, content_type=content_type, expected=expected)

        def apply(connection: sqlite3.Connection) -> list[str]:
            present = object_rows.find(connection, item.data_key)
            if present is None or present.workload_id != item.workload_id:
                raise _deleted(item.data_key)
            source, target = (STAGING, f"{stage}/"), (item.bucket, item.prefix)
            _, freed = queries.move_below(connection, source, target)
            object_rows.touch(connection, item)
            return freed

        try:
            with anyio.CancelScope(shield=True):
                await self.store.collect(await self._catalog.write(apply, needs_room=True))
        except CnetError:
            await self.unstage(stage)
            raise
        self.on_change()
        return replace(info, bucket=item.bucket, key=item.prefix + path)

    async def delete_file(self, item: DataObject, path: str) -> bool:
        """Delete one file of a readwrite or exclusive object; False when there was none."""
        self._require_writable(item)
        found = await self.store.delete(item.bucket, item.prefix + path)
        if found:
            await self._catalog.write(lambda connection: object_rows.touch(connection, item))
            self.on_change()
        return found

    async def delete(self, data_key: str) -> bool:
        """Delete an object with its files, durably; False when there was none.

        It is gone at once; large ones leave their bytes in steps, which a restart goes on with.
        """

        def apply(connection: sqlite3.Connection) -> str | None:
            item = object_rows.find(connection, data_key)
            if item is None:
                return None
            stage = f"deleted.{item.run}"
            queries.move_below(connection, (item.bucket, item.prefix), (STAGING, f"{stage}/"))
            object_rows.drop(connection, item)
            return stage

        with anyio.CancelScope(shield=True):
            stage = await self._catalog.write(apply)
            if stage is not None:
                await self.unstage(stage)
        return stage is not None

    async def delete_of(self, workload_id: str) -> bool:
        """Delete the object that a workload has stored."""
        item = self.of_workload(workload_id)
        return item is not None and await self.delete(item.data_key)

    async def sweep(self, known: Iterable[str]) -> list[str]:
        """At the agent's start: what no workload in `known` owns goes, staged or not.

        Returns the data keys of objects that nobody was told of.
        """
        kept = set(known)
        strangers = await self._catalog.read(
            lambda connection: [
                (data_key, workload_id)
                for data_key, workload_id in connection.execute(
                    "SELECT data_key, workload_id FROM objects"
                ).fetchall()
                if workload_id not in kept
            ]
        )
        for data_key, _ in strangers:
            await self.delete(data_key)
        for stage in await self._stages():
            # A stage is named after a run, `<workload id>.<attempt>`, which may still be at it.
            if stage.rpartition(".")[0] not in kept:
                await self.unstage(stage)
        return [data_key for data_key, _ in strangers]

    async def _stages(self) -> Sequence[str]:
        found: list[str] = []
        after = ""
        while True:
            page = await self.store.list(
                STAGING, delimiter="/", after=after, limit=object_rows.STEP
            )
            found += [prefix[:-1] for prefix in page.prefixes]
            if page.next_after is None:
                return found
            after = page.next_after

    @staticmethod
    def _require_writable(item: DataObject) -> None:
        if item.access_mode == "readonly":
            raise ForbiddenError(
                f"data object {item.data_key!r} is readonly; only a workload that was submitted "
                "with access_mode readwrite or exclusive takes changes",
                code="read_only",
            )


def _deleted(data_key: str) -> NotFoundError:
    return NotFoundError(f"{data_key!r} was deleted", code="no_such_data")
