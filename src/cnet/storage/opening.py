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
from cnet.storage.store import NodeStore
from cnet.storage.uploads import MIN_PART_BYTES

DEFAULT_BUCKET: Final = "cnet"


@asynccontextmanager
async def open_store(
    root: Path,
    *,
    database: Path | None = None,
    backend: StorageBackend | None = None,
    guarded: bool = False,
    min_part_bytes: int = MIN_PART_BYTES,
) -> AsyncIterator[NodeStore]:
    """The store below `root`, made if it is not there; any number of processes may open it.

    `database`: where the catalogue is, if not `root/catalog.db`. `guarded`: for programs that
    foreign clients reach; see `cnet.storage.core.Core`. Sweep once at the agent's start.
    Raises ConfigError.
    """
    catalog = Catalog(database or root / "catalog.db", root)
    if backend is None:
        backend = LocalBackend(root)
    await anyio.to_thread.run_sync(_prepare, root, backend, catalog)
    store = NodeStore(catalog, backend, guarded=guarded, min_part_bytes=min_part_bytes)
    try:
        if DEFAULT_BUCKET not in dict(await catalog.read(queries.all_buckets)):
            await catalog.write(partial(queries.add_bucket, name=DEFAULT_BUCKET, now=now()))
        yield store
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(catalog.close)
            await anyio.to_thread.run_sync(store.close)


def _prepare(root: Path, backend: StorageBackend, catalog: Catalog) -> None:
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(root, os.W_OK | os.X_OK):
            raise PermissionError(f"{root} may not be written")
        if isinstance(backend, LocalBackend):
            backend.open()
    except OSError as error:
        raise ConfigError(f"storage.sqlite.data_path: {root} cannot be used: {error}") from error
    catalog.open()
