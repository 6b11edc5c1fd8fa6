"""The store with its bytes in an object store: the contract, and what only this one must do.

Once over a store in memory, once over our own gateway, once with local files beneath.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cnet.errors import ConfigError, TooLargeError, UnreachableError
from cnet.storage import NodeStore, open_store
from cnet.storage.local import LocalBackend
from cnet.storage.place import Place, write_place
from tests.contracts.storage import BUCKET, StoreContract, body, content
from tests.gateway.gateways import Gateway, keys_file, running
from tests.storage.places import place_at

obstore = pytest.importorskip("obstore", reason="the extra `s3` is not installed")
s3 = pytest.importorskip("cnet.storage.s3")
layered = pytest.importorskip("cnet.storage.layered")

pytestmark = pytest.mark.anyio
_numbers = itertools.count()


@pytest.fixture(params=["memory", "gateway", "layered"])
def objects(request: pytest.FixtureRequest) -> Any:
    """An empty object store: one in memory, and a bucket of our own gateway."""
    if request.param != "gateway":
        return obstore.store.MemoryStore()
    gateway: Gateway = request.getfixturevalue("gateway")
    return s3.open_objects(place_at(gateway), f"example-{next(_numbers)}")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with running(folder, "--writable", "--keys-file", str(keys_file(folder))) as started:
        yield started


@pytest.fixture
async def store(
    tmp_path: Path, objects: Any, request: pytest.FixtureRequest
) -> AsyncIterator[NodeStore]:
    root = tmp_path / "data"
    backend = s3.ObjectBackend(objects)
    if request.node.callspec.params["objects"] == "layered":
        async with open_store(root):
            pass
        backend = layered.LayeredBackend(LocalBackend(root), backend)
    async with open_store(root, backend=backend, min_part_bytes=5) as opened:
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


async def test_a_sweep_spares_what_is_young_and_what_is_not_ours(
    tmp_path: Path, objects: object
) -> None:
    stray, strangers = "0" * 32, {"notes.txt", "1" * 32}
    obstore.put(objects, f"00/{stray}", b"left by a crash")
    obstore.put(objects, "00/notes.txt", b"somebody's")
    obstore.put(objects, f"deeper/11/{'1' * 32}", b"of another store")
    for spared_for, left in ((timedelta(days=1), True), (timedelta(days=-1), False)):
        backend = s3.ObjectBackend(objects, spared_for=spared_for)
        async with open_store(tmp_path / "data", backend=backend) as store:
            file = await store.put(BUCKET, "k", body(b"kept"))
            await store.sweep()
            assert await content(store, file) == b"kept"
        assert (stray in names(objects)) == left
        assert strangers <= names(objects)


async def test_more_than_an_object_takes_is_refused(
    store: NodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "MAX_BYTES", 3_000_000)
    with pytest.raises(TooLargeError):
        await store.put(BUCKET, "k", body(*[bytes(1_000_000)] * 4))
    assert (await store.put(BUCKET, "k", body(bytes(3_000_000)))).size == 3_000_000


# --- the way there -----------------------------------------------------------------------------


async def moved(root: Path, place: Place | None) -> None:
    """Open and close the store with its bytes at a place, or on its own disk."""
    write_place(root, place)
    async with open_store(root):
        pass


async def test_a_store_outgrows_its_disk(tmp_path: Path, gateway: Gateway) -> None:
    async with open_store(tmp_path, min_part_bytes=5) as store:
        old = await store.put(BUCKET, "old", body(b"on the disk"))
        upload = await store.create_upload(BUCKET, "joined")
        first, _ = await store.put_part(BUCKET, "joined", upload, 1, body(b"here, "))
        gone = await store.put(BUCKET, "gone", body(b"deleted later"))
    write_place(tmp_path, place_at(gateway, "outgrown"))
    async with open_store(tmp_path, min_part_bytes=5) as store:
        assert await content(store, old, 3) == b"the disk"
        assert store.local_path(old) is not None
        new = await store.put(BUCKET, "new", body(b"far away"))
        assert store.local_path(new) is None
        assert await content(store, new, 4) == b"away"
        second, _ = await store.put_part(BUCKET, "joined", upload, 2, body(b"there"))
        parts = [(1, first.md5), (2, second.md5)]
        joined = await store.complete_upload(BUCKET, "joined", upload, parts)
        assert await content(store, joined) == b"here, there"
        copied = await store.copy(old, BUCKET, "copied")
        assert await content(store, copied) == b"on the disk"
        await store.delete(BUCKET, "gone")
        assert store.local_path(gone) is None
        await store.sweep()
        for file in (old, new, joined, copied):
            assert len(await content(store, file)) == file.size


async def test_stores_share_a_bucket(tmp_path: Path, gateway: Gateway) -> None:
    """What one sweeps is never what another has stored."""
    place = place_at(gateway, "shared")
    files = {}
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write_place(tmp_path / name, place)
        async with open_store(tmp_path / name) as store:
            files[name] = await store.put(BUCKET, "k", body(name.encode()))
    found = names(s3.open_objects(place, ""))
    assert {file.blob for file in files.values()} <= found
    for name, file in files.items():
        async with open_store(tmp_path / name) as store:
            backend = store._backend._objects  # type: ignore[attr-defined]
            backend._spared_for = timedelta(days=-1)
            await store.sweep()
            assert await content(store, file) == name.encode()
    assert names(s3.open_objects(place, "")) == found


async def test_a_store_is_not_parted_from_its_bytes(tmp_path: Path, gateway: Gateway) -> None:
    there, elsewhere = place_at(gateway, "a"), place_at(gateway, "b")
    for place in (None, there, elsewhere, None, there):  # it is empty
        await moved(tmp_path, place)
    async with open_store(tmp_path) as store:
        file = await store.put(BUCKET, "k", body(b"1"))
    for place, field in ((None, "storage.type"), (elsewhere, "storage.s3")):
        with pytest.raises(ConfigError, match=f"{field}: .*s3://cnet/a"):
            await moved(tmp_path, place)
    await moved(tmp_path, there)
    async with open_store(tmp_path) as store:
        assert await content(store, file) == b"1"
        await store.delete(BUCKET, "k")
        await store.collect_garbage()
        await store.set_quota(None)  # what is posted is written before
    await moved(tmp_path, None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"bucket": "no-such-bucket"}, "bucket"),
        ({"keys": ("AKNOBODY", "some-secret")}, "credentials_file"),
        ({"keys": ("AKTESTADMIN", "wrong-secret")}, "credentials_file"),
    ],
)
async def test_a_refusal_names_the_setting(
    tmp_path: Path, gateway: Gateway, changes: dict[str, Any], field: str
) -> None:
    write_place(tmp_path, place_at(gateway, "c", **changes))
    async with open_store(tmp_path) as store:
        with pytest.raises(ConfigError, match=f"storage.s3.{field}: ") as refused:
            await store.check()
        assert "AK" not in refused.value.message
        with pytest.raises(UnreachableError) as unreachable:
            await store.put(BUCKET, "k", body(b"1"))
        assert unreachable.value.code == "storage_unreachable"


async def test_the_object_store_goes_and_comes_back(tmp_path: Path) -> None:
    """Nothing is lost, and what could not be removed is removed later."""
    options = ("--writable", "--keys-file", str(keys_file(tmp_path)))
    with running(tmp_path, *options) as gateway:
        place, port = place_at(gateway), gateway.port
        (tmp_path / "store").mkdir()
        write_place(tmp_path / "store", place)
        async with open_store(tmp_path / "store") as store:
            kept = await store.put(BUCKET, "kept", body(b"kept"))
            gone = await store.put(BUCKET, "gone", body(b"gone"))
            gateway.process.kill()
            gateway.process.wait()
            for ask in (
                store.put(BUCKET, "new", body(b"new")),
                content(store, kept),
                store.check(),
            ):
                with pytest.raises(UnreachableError) as unreachable:
                    await ask
                assert unreachable.value.code == "storage_unreachable"
            assert await store.delete(BUCKET, "gone")
            assert [file.key for file in (await store.list(BUCKET)).files] == ["kept"]
            with running(tmp_path, *options, port=port):
                await store.check()
                assert await content(store, kept) == b"kept"
                await store.collect_garbage()
                found = names(s3.open_objects(place, ""))
                assert kept.blob in found and gone.blob not in found
