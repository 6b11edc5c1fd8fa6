"""Opening the store of a data root."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from cnet._support.clock import now
from cnet.errors import ConfigError
from cnet.storage import queries
from cnet.storage.base import StorageBackend
from cnet.storage.catalog import Catalog
from cnet.storage.local import LocalBackend
from cnet.storage.place import Place, read_place
from cnet.storage.store import NodeStore
from cnet.storage.tying import tie
from cnet.storage.uploads import MIN_PART_BYTES

DEFAULT_BUCKET: Final = "cnet"
CATALOGUE: Final = "catalog.db"


@asynccontextmanager
async def open_store(
    root: Path,
    *,
    database: Path | None = None,
    backend: StorageBackend | None = None,
    create: bool = True,
    guarded: bool = False,
    min_part_bytes: int = MIN_PART_BYTES,
) -> AsyncIterator[NodeStore]:
    """The store below `root`, made if it is not there; any number of processes may open it.

    `database`: where the catalogue is, if not `root/catalog.db`. The bytes are where `write_place`
    told, unless a `backend` is given. Without `create` there must be a store already. `guarded`:
    for programs that foreign clients reach; see `cnet.storage.core.Core`. Sweep once at the agent's
    start. Raises ConfigError.
    """
    path = database or root / CATALOGUE
    if not create and not await anyio.Path(path).is_file():
        raise ConfigError(f"{root}: there is no store; it would have {path}")
    catalog = Catalog(path, root)
    await anyio.to_thread.run_sync(_prepare, root, backend is None, catalog)
    store: NodeStore | None = None
    try:
        backend = backend or await _own_backend(root, catalog)
        store = NodeStore(catalog, backend, guarded=guarded, min_part_bytes=min_part_bytes)
        if DEFAULT_BUCKET not in dict(await catalog.read(queries.all_buckets)):
            await catalog.write(partial(queries.add_bucket, name=DEFAULT_BUCKET, now=now()))
        yield store
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(catalog.close)
            if store is not None:
                await anyio.to_thread.run_sync(store.close)


def _prepare(root: Path, local: bool, catalog: Catalog) -> None:
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(root, os.W_OK | os.X_OK):
            raise PermissionError(f"{root} may not be written")
        if local:
            LocalBackend(root).open()
    except OSError as error:
        raise ConfigError(f"storage.sqlite.data_path: {root} cannot be used: {error}") from error
    catalog.open()


async def _own_backend(root: Path, catalog: Catalog) -> StorageBackend:
    """Where the bytes of this store are."""
    place = await anyio.to_thread.run_sync(read_place, root)
    folder = await tie(catalog, place)
    local = LocalBackend(root)
    if place is None or folder is None:
        return local
    return await anyio.to_thread.run_sync(_layered, local, place, folder)


def _layered(local: LocalBackend, place: Place, folder: str) -> StorageBackend:
    # The extra `s3`, and 30 MB, which no other store needs.
    try:
        from cnet.storage.layered import LayeredBackend
        from cnet.storage.s3 import ObjectBackend, open_objects
    except ImportError as error:
        raise ConfigError(
            f"storage.type: s3 needs obstore ({error}); install it with pip install 'cnet[s3]'"
        ) from error
    return LayeredBackend(local, ObjectBackend(open_objects(place, folder)))
