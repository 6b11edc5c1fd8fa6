"""Stored data and workloads share a node's storage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from cnet.agent.room import SharedLedger
from cnet.errors import CapacityError, StorageFullError
from cnet.model.resources import Resources
from cnet.register import Ledger
from cnet.storage.objects import DataObject, DataObjects
from cnet.storage.opening import open_store
from cnet.storage.staging import staging

pytestmark = pytest.mark.anyio


async def _body(size: int) -> AsyncIterator[bytes]:
    yield bytes(size)


def _disk(size: int) -> Resources:
    return Resources(storage=size)


async def test_what_is_stored_counts_as_allocated() -> None:
    ledger = Ledger(_disk(100))
    ledger.set_stored(60)
    assert (ledger.stored, ledger.allocated.storage, ledger.available.storage) == (60, 60, 40)
    with pytest.raises(CapacityError):
        ledger.reserve("w", _disk(41))
    ledger.reserve("w", _disk(40))
    ledger.set_stored(70)  # more than there is: it is there, so it is counted
    assert (ledger.allocated.storage, ledger.available.storage) == (110, 0)
    ledger.release("w")
    ledger.set_stored(0)
    assert ledger.allocated == Resources()


async def test_a_promise_looks_at_the_store_first(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        ledger = SharedLedger(_disk(100), store)
        await store.put("cnet", "k", _body(60))
        assert ledger.stored == 0, "nobody has looked yet"
        with pytest.raises(CapacityError):
            ledger.reserve("w", _disk(41))
        assert ledger.stored == 60
        promised = ledger.promised
        ledger.reserve("w", _disk(40))
        assert promised.is_set()
        assert ledger.left_for_store == 60
        await store.set_quota(ledger.left_for_store)
        with pytest.raises(StorageFullError):
            await store.put("cnet", "other", _body(1))
        ledger.release("w")
        assert ledger.left_for_store == 100
        ledger.adopt("found", _disk(500), ())
        assert ledger.left_for_store == 0


async def test_a_failed_staging_leaves_nothing(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionError

    async with open_store(tmp_path) as store:
        objects = DataObjects(store)
        await objects.open()
        with pytest.raises(ConnectionError):
            async with staging(objects, "w.1", max_bytes=100, max_files=10) as stager:
                await stager.add("whole", _body(10))
                await stager.add("broken", broken())
        assert await store.used() == 0
        with anyio.CancelScope() as scope:
            async with staging(objects, "w.1", max_bytes=100, max_files=10) as stager:
                await stager.add("whole", _body(10))
                scope.cancel()
        assert scope.cancelled_caught
        assert await store.used() == 0


async def test_the_sweep_takes_what_no_workload_owns(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        objects = DataObjects(store)
        await objects.open()
        for workload, key in (("known", "a"), ("stranger", "b")):
            async with staging(objects, f"{workload}.1", max_bytes=100, max_files=10) as stager:
                await stager.add("f", _body(10))
            await objects.publish(
                f"{workload}.1",
                DataObject(data_key=key, workload_id=workload, run=f"{workload}.1", single="f"),
            )
        for stage in ("known.2", "stranger.2", "put.x"):
            await objects.stage(stage, "f", _body(5), content_type="x/y")
        assert await objects.sweep(["known"]) == ["b"]
        assert [item.object.data_key for item in await objects.page()] == ["a"]
        assert await store.used() == 15, "the object and the stage of what is known"
