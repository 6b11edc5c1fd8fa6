"""The store with its bytes in local files: the contract, and what only files can show."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from tools.data_kills.inspection import blobs_of, faults

from cnet.errors import (
    CnetError,
    ConfigError,
    DamagedError,
    ForbiddenError,
    NotFoundError,
    SpecError,
    TransientError,
)
from cnet.storage import NodeStore, open_store, queries
from cnet.storage.base import Extent
from cnet.storage.schema import MIGRATIONS
from tests.contracts.storage import BUCKET, StoreContract, body, content, put_in_parts

pytestmark = pytest.mark.anyio


class TestLocal(StoreContract):
    """Runs all of it over local files."""

    @pytest.fixture(autouse=True)
    async def _nothing_left(self, store: NodeStore, tmp_path: Path) -> AsyncIterator[None]:
        """After every test each row has its bytes, and all bytes have a row."""
        yield
        assert faults(tmp_path / "data") == []


async def test_local_paths(store: NodeStore) -> None:
    file = await store.put(BUCKET, "../../etc/passwd", body(b"abc"))
    path = store.local_path(file)
    assert path is not None
    assert (read(path), path.rpartition("/")[2]) == (b"abc", file.blob)
    joined = await put_in_parts(store, "k", [b"12345", b"6"])
    assert store.local_path(joined) is None


def read(path: str) -> bytes:
    return Path(path).read_bytes()


async def test_extents(store: NodeStore) -> None:
    plain = await store.put(BUCKET, "p", body(b"0123456789"))
    joined = await put_in_parts(store, "j", [b"01234", b"56789", b"ab"])
    for file, start, length, pieces in [
        (plain, 0, None, [b"0123456789"]),
        (plain, 3, 4, [b"3456"]),
        (joined, 0, None, [b"01234", b"56789", b"ab"]),
        (joined, 4, 7, [b"4", b"56789", b"a"]),
        (joined, 5, 5, [b"56789"]),
        (joined, 12, None, []),
    ]:
        extents = store.extents(file, start, length)
        assert extents is not None
        async with extents as opened:
            assert contents(opened) == pieces
    with pytest.raises(NotFoundError):
        await store.delete(BUCKET, "p")
        extents = store.extents(plain)
        assert extents is not None
        async with extents:
            pass


async def test_what_is_at_hand(store: NodeStore, tmp_path: Path) -> None:
    """Small files that were just written are; nothing is said of what has to be looked for."""
    plain = await store.put(BUCKET, "p", body(b"0123456789"))
    path = store.local_path(plain)
    assert path is not None
    whole, piece = (b"0123456789", b"345") if _reads_without_waiting(path) else (None, None)
    assert store.at_hand(plain, 0, 10) == whole
    assert store.at_hand(plain, 3, 3) == piece
    joined = await put_in_parts(store, "j", [b"01234", b"56789"])
    assert store.at_hand(joined, 0, 10) is None
    os.truncate(path, 5)
    assert store.at_hand(plain, 0, 10) is None
    os.truncate(path, 10)
    await store.delete(BUCKET, "p")
    assert store.at_hand(plain, 0, 10) is None


def _reads_without_waiting(path: str) -> bool:
    with Path(path).open("rb") as file:
        try:
            return os.preadv(file.fileno(), [bytearray(10)], 0, os.RWF_NOWAIT) == 10
        except OSError:
            return False


def contents(extents: Iterable[Extent]) -> list[bytes]:
    return [os.pread(e.descriptor, e.length, e.offset) for e in extents if e.length]


async def test_an_upload_is_completed_without_a_copy(store: NodeStore, tmp_path: Path) -> None:
    file = await put_in_parts(store, "k", [b"12345", b"67890"])
    blob = tmp_path / "data" / "blobs" / file.blob[:2] / file.blob
    assert [(p.name, p.read_bytes(), p.stat().st_nlink) for p in sorted(blob.iterdir())] == [
        (f"{0:016x}", b"12345", 1),
        (f"{5:016x}", b"67890", 1),
    ]


async def test_a_joined_file_goes_when_its_last_reader_ends(
    store: NodeStore, tmp_path: Path
) -> None:
    file = await put_in_parts(store, "k", [b"12345", b"6"])
    blob = tmp_path / "data" / "blobs" / file.blob[:2] / file.blob
    async with store.open(file):
        extents = store.extents(file)
        assert extents is not None
        async with extents:
            await store.delete(BUCKET, "k")
        assert blob.exists()
        await store.sweep()
        assert blob.exists()
    assert not blob.exists()


async def test_damage_is_said(store: NodeStore) -> None:
    file = await store.put(BUCKET, "k", body(bytes(100_000)))
    path = store.local_path(file)
    assert path is not None
    os.truncate(path, 50_000)
    with pytest.raises(DamagedError):
        await content(store, file)


async def test_several_stores_on_one_root(store: NodeStore, tmp_path: Path) -> None:
    async with open_store(tmp_path / "data") as other:
        await store.set_quota(10)
        await other.put(BUCKET, "k", body(b"1"))
        assert (await store.stat(BUCKET, "k")).size == 1
        assert await other.create_bucket("new")
        assert [name for name, _ in await store.buckets()] == [BUCKET, "new"]


async def test_a_guarded_store(store: NodeStore, tmp_path: Path) -> None:
    await store.catalog.write(lambda db: queries.add_bucket(db, ".hidden", 0.0))
    await store.put(".hidden", "k", body(b"1"))
    await store.put(BUCKET, "fixed/a", body(b"1"))
    await store.catalog.write(lambda db: queries.protect(db, BUCKET, "fixed/"))
    async with open_store(tmp_path / "data", guarded=True, min_part_bytes=5) as gateway:
        for attempt in (gateway.stat(".hidden", "k"), gateway.list(".hidden")):
            with pytest.raises(SpecError):
                await attempt
        assert [name for name, _ in await gateway.buckets()] == [BUCKET]
        file = await gateway.stat(BUCKET, "fixed/a")
        for attempt in (
            gateway.put(BUCKET, "fixed/new", body(b"2")),
            gateway.delete(BUCKET, "fixed/a"),
            gateway.delete_many(BUCKET, ["fixed/a"]),
            gateway.copy(file, BUCKET, "fixed/b"),
            gateway.create_upload(BUCKET, "fixed/c"),
            gateway.delete_prefix(BUCKET, "f"),
        ):
            with pytest.raises(ForbiddenError):
                await attempt
        await gateway.put(BUCKET, "fixed", body(b"2"))
    await store.catalog.write(lambda db: queries.unprotect(db, BUCKET, "fixed/"))
    assert await store.delete_prefix(BUCKET, "f") == 2


async def test_moving_a_prefix_is_one_step(store: NodeStore) -> None:
    await store.create_bucket("staged")
    for key in ("x/1", "x/2", "y/1"):
        await store.put("staged", key, body(key.encode()))
    await store.put(BUCKET, "data/1", body(b"old"))
    moved, freed = await store.catalog.write(
        lambda db: queries.move_below(db, ("staged", "x/"), (BUCKET, "data/"))
    )
    await store.collect(freed)
    assert moved == 2
    assert await content(store, await store.stat(BUCKET, "data/1")) == b"x/1"
    assert [file.key for file in (await store.list("staged")).files] == ["y/1"]
    assert await store.used() == 9


@pytest.mark.parametrize("natively", [True, False])
async def test_a_put_that_is_cancelled_while_it_is_committed(
    store: NodeStore, tmp_path: Path, natively: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes about, with its bytes, and whoever was cancelled learns of that, too."""
    async with held_up(store):
        scope, handed_over, write = anyio.CancelScope(), anyio.Event(), store.catalog.write

        async def put() -> None:
            with scope:
                await store.put(BUCKET, "k", body(b"abc"))

        async def watched(*arguments: Any, **options: Any) -> Any:
            handed_over.set()
            return await write(*arguments, **options)

        monkeypatch.setattr(store.catalog, "write", watched)
        task = asyncio.get_running_loop().create_task(put())
        await handed_over.wait()
        if natively:
            task.cancel()
        else:
            scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert not task.done()
    done, _ = await asyncio.wait([task])
    assert done == {task}
    assert task.cancelled() == natively
    assert await content(store, await store.stat(BUCKET, "k")) == b"abc"
    assert faults(tmp_path / "data") == []


@asynccontextmanager
async def held_up(store: NodeStore) -> AsyncIterator[None]:
    """Nothing is committed meanwhile; all that is asked for goes into one commit."""
    gate = threading.Event()
    at_work = threading.Event()

    def wait(_: sqlite3.Connection) -> None:
        at_work.set()
        gate.wait(30)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.catalog.write, wait)
        await anyio.to_thread.run_sync(at_work.wait)
        try:
            yield
        finally:
            gate.set()


async def test_a_change_that_fails_spoils_no_other(store: NodeStore) -> None:
    outcomes: dict[str, Exception | None] = {}

    async def change(name: str, apply: Callable[[sqlite3.Connection], object]) -> None:
        try:
            await store.catalog.write(apply)
        except (CnetError, ZeroDivisionError) as error:
            outcomes[name] = error
        else:
            outcomes[name] = None

    def adds(name: str) -> Callable[[sqlite3.Connection], object]:
        return lambda db: queries.add_bucket(db, name, 0.0)

    def breaks(db: sqlite3.Connection) -> None:
        queries.add_bucket(db, "half", 0.0)
        raise ZeroDivisionError

    def wrong(db: sqlite3.Connection) -> None:
        queries.add_bucket(db, "half", 0.0)
        db.execute("INSERT INTO meta VALUES ('used_bytes', 1)")

    async with anyio.create_task_group() as tasks, held_up(store):
        for name, apply in [
            ("one", adds("one")),
            ("breaks", breaks),
            ("wrong", wrong),
            ("two", adds("two")),
        ]:
            tasks.start_soon(change, name, apply)
        await anyio.wait_all_tasks_blocked()
    assert [name for name, _ in await store.buckets()] == [BUCKET, "one", "two"]
    assert outcomes["one"] is None
    assert outcomes["two"] is None
    assert isinstance(outcomes["breaks"], ZeroDivisionError)
    assert isinstance(outcomes["wrong"], TransientError)


async def test_a_catalogue_from_the_future(tmp_path: Path) -> None:
    database = tmp_path / "catalog.db"
    with sqlite3.connect(database) as connection:
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(ConfigError, match="newer"):
        async with open_store(tmp_path):
            pass


async def test_a_catalogue_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigError, match="cannot be used"):
        async with open_store(tmp_path):
            pass


async def test_blobs_are_private_and_never_named_by_users(store: NodeStore, tmp_path: Path) -> None:
    for key in ("../up", "/abs", "a//b", "..", "con", "a\\b", "%2e%2e/x"):
        await store.put(BUCKET, key, body(b"1"))
    assert len(blobs_of(tmp_path / "data")) == 7
    assert readable_for_others(tmp_path / "data") == []


def readable_for_others(root: Path) -> list[str]:
    return [str(path) for path in [root, *root.rglob("*")] if path.stat().st_mode & 0o077]


async def test_what_is_done_does_not_fail_because_the_old_bytes_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(blobs: object) -> list[str]:
        raise OSError(5, "Input/output error")

    async with open_store(tmp_path / "data") as store:
        await store.put(BUCKET, "k", body(b"old"))
        with monkeypatch.context() as patch:
            patch.setattr(store._core.backend, "remove", broken)
            new = await store.put(BUCKET, "k", body(b"new"))
            assert await content(store, new) == b"new"
            assert await store.delete(BUCKET, "k")
        assert len(blobs_of(tmp_path / "data")) == 2
        await store.sweep()
        assert len(blobs_of(tmp_path / "data")) == 0
