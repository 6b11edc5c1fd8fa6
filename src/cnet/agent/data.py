"""The node's store, opened for all parts of the agent that work with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from cnet._support.files import FileLock
from cnet.agent.object_store import place_of
from cnet.api.context import DataService
from cnet.config import Settings
from cnet.errors import CnetError, ConfigError, UnreachableError
from cnet.executors.catalog import DataContext
from cnet.executors.data import FetchLimits
from cnet.executors.inputs import Inputs
from cnet.executors.remote import RemoteData
from cnet.executors.roots import DataPlaces
from cnet.storage.cache import FileCache
from cnet.storage.objects import DataObjects
from cnet.storage.opening import open_store
from cnet.storage.place import Place, write_place
from cnet.storage.queries import quota_bytes
from cnet.storage.store import NodeStore

UPLOAD_DAYS = 7
"""After which an upload in parts that was not completed is forgotten."""
TIDY_AGAIN_S = 600.0
"""An object store that does not answer keeps what is to be removed."""

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpenData:
    """A store and what is told of it to others."""

    settings: Settings
    store: NodeStore
    objects: DataObjects
    cache: FileCache

    def for_executors(self, remote: RemoteData) -> DataContext:
        """For the kinds of workload that store, serve and use data."""
        storage = self.settings.storage
        return DataContext(
            objects=self.objects,
            places=self._places,
            inputs=Inputs(self.objects, self.cache, remote),
            limits=FetchLimits(
                allow_private_urls=storage.allow_private_urls,
                url_timeout_s=storage.url_timeout_s,
                max_object_bytes=storage.max_object_bytes,
                max_files=storage.max_files,
            ),
        )

    @property
    def _places(self) -> DataPlaces:
        return DataPlaces(
            root=self.settings.data_root,
            database=_database(self.settings),
            allowed=tuple(map(Path, self.settings.storage.roots)),
        )

    def for_routes(self, remote: RemoteData) -> DataService:
        """For the HTTP edge."""
        storage = self.settings.storage
        return DataService(
            objects=self.objects,
            max_object_bytes=storage.max_object_bytes,
            max_files=storage.max_files,
            remote=remote,
            keys_file=self._places.keys_file,
        )

    async def sweep(self, known: Iterable[str]) -> None:
        """Objects of workloads that the journal does not know were never acknowledged."""
        removed = await self.objects.sweep(known)
        if removed:
            logger.warning("data_swept", data_keys=removed)

    @property
    def on_this_disk(self) -> bool:
        """Whether what is stored takes the room that workloads get, too."""
        return self.settings.storage.type == "sqlite"

    async def tidy(self) -> None:
        """Remove what crashes left of bytes, and uploads in parts that nobody finishes.

        Goes on for ever where the bytes are in an object store, which may not answer for a while.
        """
        swept = False
        while True:
            swept = swept or await self._sweep_store()
            if self.on_this_disk:
                return  # else tried again at the next start
            await anyio.sleep(TIDY_AGAIN_S)
            await self.store.collect_garbage()

    async def _sweep_store(self) -> bool:
        try:
            forgotten = await self.store.abort_uploads(older_than_s=UPLOAD_DAYS * 86_400)
            removed = await self.store.sweep()
        except (CnetError, OSError) as error:
            logger.warning("store_not_swept", why=str(error))
            return False
        if forgotten or removed:
            logger.info("store_swept", uploads=forgotten, blobs=removed)
        return True


@asynccontextmanager
async def open_data(settings: Settings) -> AsyncIterator[OpenData]:
    """Open the store of this node. Raises ConfigError."""
    root, database = settings.data_root, _database(settings)
    place = await anyio.to_thread.run_sync(place_of, settings.storage)
    try:
        for folder in (root, root if database is None else database.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(root / "agent.lock")
        holder = lock.acquire()
    except OSError as error:
        raise ConfigError(f"storage.sqlite: {error.filename}: {error.strerror}") from error
    if holder is not None:
        raise ConfigError(
            f"storage.sqlite.data_path: {root} is in use by another agent (pid {holder})"
        )
    try:
        await anyio.to_thread.run_sync(_tell_place, root, place)
        async with open_store(root, database=database) as store:
            if place is not None:
                await _meet(store, place, settings.storage.s3.max_bytes)
            objects = DataObjects(store)
            await objects.open()
            cache = FileCache(root / "cache", settings.storage.cache_bytes)
            await anyio.to_thread.run_sync(cache.open)
            yield OpenData(settings, store, objects, cache)
    finally:
        lock.release()


def _tell_place(root: Path, place: Place | None) -> None:
    try:
        write_place(root, place)
    except OSError as error:
        raise ConfigError(f"storage.sqlite.data_path: {root}: {error.strerror}") from error


async def _meet(store: NodeStore, place: Place, max_bytes: int | None) -> None:
    """Look whether the object store answers. Raises ConfigError only when it refuses us."""
    try:
        await store.check()
    except UnreachableError as error:
        # What runs must be taken up, and the store may be back at any moment.
        logger.warning("object_store_unreachable", place=str(place), why=error.message)
    try:
        if store.catalog.look(quota_bytes) != max_bytes:
            await store.set_quota(max_bytes)
    except CnetError as error:  # the disk of the catalogue is full
        logger.warning("quota_not_set", why=error.message)


def _database(settings: Settings) -> Path | None:
    path = settings.storage.sqlite.db_path
    return None if path is None else path.expanduser().absolute()
