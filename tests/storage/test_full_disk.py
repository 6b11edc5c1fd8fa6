"""A disk that is full to the last block: nothing half, deletions work, and it heals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio.to_thread
import pytest
from tools.chaos.power_cut import mounted, why_not
from tools.data_kills.inspection import faults

from cnet.errors import StorageFullError
from cnet.storage import open_store
from cnet.storage.base import Expected
from tests.chaos.test_full_disk import empty, fill, make_disk
from tests.contracts.storage import BUCKET, body, content

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(why_not() is not None, reason=f"no disk of one's own here: {why_not()}"),
]

MIB = 1024 * 1024


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of 48 MiB."""
    make_disk(tmp_path / "disk.img")
    with mounted(tmp_path / "disk.img", tmp_path / "disk"):
        yield tmp_path / "disk" / "data"


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(MIB)


async def test_a_body_without_end(root: Path) -> None:
    async with open_store(root) as store:
        await store.put(BUCKET, "kept", body(b"kept"))
        with pytest.raises(StorageFullError):
            await store.put(BUCKET, "endless", endless())
        with pytest.raises(StorageFullError):  # before a byte of it is read
            await store.put(BUCKET, "big", endless(), expected=Expected(size=10**12))
        await store.put(BUCKET, "room again", body(bytes(20 * MIB)))
        assert await content(store, await store.stat(BUCKET, "kept")) == b"kept"
    assert faults(root) == []


async def test_the_last_block_is_taken(root: Path) -> None:
    async with open_store(root, min_part_bytes=5) as store:
        for number in range(20):
            await store.put(BUCKET, f"{number}", body(bytes(1000)))
        upload = await store.create_upload(BUCKET, "parts")
        part, _ = await store.put_part(BUCKET, "parts", upload, 1, body(b"12345"))
        fill(root)
        for attempt in (
            store.put(BUCKET, "new", body(b"1")),
            store.put_part(BUCKET, "parts", upload, 2, body(b"1")),
            store.create_bucket("another"),
        ):
            with pytest.raises(StorageFullError):
                await attempt
        for number in range(10):
            assert await store.delete(BUCKET, f"{number}")
        await anyio.to_thread.run_sync(fill, root)  # somebody else took what that freed
        with pytest.raises(StorageFullError):
            await store.create_upload(BUCKET, "x")
        await anyio.to_thread.run_sync(empty, root)
        assert await store.delete_prefix(BUCKET, "1") == 10
        await store.put(BUCKET, "after", body(bytes(MIB)))
        file = await store.complete_upload(BUCKET, "parts", upload, [(1, part.md5)])
        assert await content(store, file) == b"12345"
    assert faults(root) == []
