"""The store with its bytes in an object store: the contract, and what only this one must do.

Once over a store in memory, once over our own gateway.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cnet.storage import NodeStore, open_store
from tests.contracts.storage import BUCKET, StoreContract, body, content
from tests.gateway.gateways import KEY, SECRET, Gateway, keys_file, running

obstore = pytest.importorskip("obstore", reason="the extra `s3` is not installed")

pytestmark = pytest.mark.anyio
_numbers = itertools.count()


@pytest.fixture(params=["memory", "gateway"])
def objects(request: pytest.FixtureRequest) -> object:
    """An empty object store: one in memory, and a bucket of our own gateway."""
    if request.param == "memory":
        return obstore.store.MemoryStore()
    from cnet.storage.s3 import s3_objects  # needs the extra

    gateway: Gateway = request.getfixturevalue("gateway")
    prefix = f"example-{next(_numbers)}"
    return s3_objects(
        BUCKET,
        prefix=prefix,
        endpoint=gateway.endpoint,
        access_key_id=KEY,
        secret_access_key=SECRET,
    )


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with running(folder, "--writable", "--keys-file", str(keys_file(folder))) as started:
        yield started


@pytest.fixture
async def store(tmp_path: Path, objects: object) -> AsyncIterator[NodeStore]:
    from cnet.storage.s3 import ObjectBackend  # needs the extra

    backend = ObjectBackend(objects)  # type: ignore[arg-type]
    async with open_store(tmp_path / "data", backend=backend, min_part_bytes=5) as opened:
        yield opened


class TestObjectStore(StoreContract):
    """Runs all of it over objects."""

    @pytest.fixture(autouse=True)
    async def _nothing_left(self, store: NodeStore, objects: object) -> AsyncIterator[None]:
        """After every test each row has its object, and each object a row."""
        yield
        rows = await store.catalog.read(
            lambda db: db.execute("SELECT blob FROM files UNION SELECT blob FROM parts").fetchall()
        )
        assert names(objects) == {blob for (blob,) in rows}


def names(objects: object) -> set[str]:
    pages = obstore.list(objects)
    return {meta["path"].rpartition("/")[2] for page in pages for meta in page}


async def test_nothing_is_local(store: NodeStore) -> None:
    file = await store.put(BUCKET, "k", body(b"1"))
    assert store.local_path(file) is None
    assert store.extents(file) is None


async def test_a_sweep_spares_what_is_young(tmp_path: Path, objects: object) -> None:
    from cnet.storage.s3 import ObjectBackend  # needs the extra

    stray = "0" * 32
    obstore.put(objects, f"00/{stray}", b"left by a crash")
    for spared_for, left in ((timedelta(days=1), True), (timedelta(days=-1), False)):
        backend = ObjectBackend(objects, spared_for=spared_for)  # type: ignore[arg-type]
        async with open_store(tmp_path / "data", backend=backend) as store:
            file = await store.put(BUCKET, "k", body(b"kept"))
            await store.sweep()
            assert await content(store, file) == b"kept"
        assert (stray in names(objects)) == left
