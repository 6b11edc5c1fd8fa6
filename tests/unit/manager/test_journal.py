"""What the journal has acknowledged it has, whatever else fails."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import orjson
import pytest

from cnet.errors import ConfigError, ConflictError, StorageFullError
from cnet.manager.journal import MIGRATIONS, Journal, Record
from cnet.model.events import AgentEvent
from cnet.model.lifecycle import Phase
from cnet.model.workload import WorkloadSpec, WorkloadStatus

pytestmark = pytest.mark.anyio


def record(name: str) -> Record:
    spec = WorkloadSpec.model_validate(
        {"name": name, "type": "process", "config": {"command": "x"}}
    )
    return Record(name, spec, WorkloadStatus(created_at=1.0, updated_at=1.0))


def event(seq: int) -> AgentEvent:
    return AgentEvent(seq=seq, time=float(seq), event="workload", workload_id="w", data={"n": seq})


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Journal]:
    journal = Journal(path)
    journal.open()
    try:
        yield journal
    finally:
        journal.close()


async def test_records_survive_in_order(tmp_path: Path) -> None:
    names = [f"w{number}" for number in range(50)]
    async with opened(tmp_path / "cnet.db") as journal:
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(journal.accept, record(name))
        running = WorkloadStatus(
            phase=Phase.RUNNING, gpu_devices=(1,), limits={"memory": "none"}, created_at=1.0
        )
        journal.post_update("w7", running, [event(1)])
        await journal.delete(["w8", "never there"])
    async with opened(tmp_path / "cnet.db") as journal:
        loaded = {item.id: item for item in journal.load()}
        assert list(loaded) == [name for name in names if name != "w8"]
        assert loaded["w7"].status == running
        assert loaded["w3"] == record("w3")
        assert journal.last_event_seq() == 1
        assert journal.events_after(0, 10) == [event(1)]


async def test_one_refused_change_spoils_no_other(tmp_path: Path) -> None:
    async with opened(tmp_path / "cnet.db") as journal:
        await journal.accept(record("a"))
        outcomes: dict[str, Exception | None] = {}

        async def accept(key: str, item: Record) -> None:
            try:
                await journal.accept(item)
                outcomes[key] = None
            except ConflictError as error:
                outcomes[key] = error

        async with anyio.create_task_group() as group:
            group.start_soon(accept, "before", record("b"))
            group.start_soon(accept, "double", record("a"))
            group.start_soon(accept, "after", record("c"))
        assert isinstance(outcomes.pop("double"), ConflictError)
        assert outcomes == {"before": None, "after": None}
        assert [item.id for item in journal.load()] == ["a", "b", "c"]


async def test_a_cancelled_writer_does_not_disturb_the_others(tmp_path: Path) -> None:
    async with opened(tmp_path / "cnet.db") as journal:
        with anyio.move_on_after(0):
            await journal.accept(record("a"))
        await journal.accept(record("b"))
        assert [item.id for item in journal.load()][-1] == "b"


async def test_old_events_are_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnet.manager.journal.EVENTS_KEPT", 100)
    async with opened(tmp_path / "cnet.db") as journal:
        for number in range(1, 3001):
            journal.post_events([event(number)])
        await journal.update("nobody", WorkloadStatus())
        kept = journal.events_after(0, 10_000)
        assert kept[-1].seq == 3000
        assert len(kept) < 2000


async def test_a_full_disk_refuses_acceptances_but_records_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`max_page_count` makes SQLite say SQLITE_FULL just as a full disk does."""
    async with opened(tmp_path / "cnet.db") as journal:
        await journal.accept(record("kept"))
        db = journal._db
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count={pages + 1}")
        free = type("Usage", (), {"free": 0})()
        monkeypatch.setattr("cnet.manager.journal.shutil.disk_usage", lambda _path: free)
        with pytest.raises(StorageFullError, match="disk"):
            for number in range(1000):
                await journal.accept(record(f"w{number}"))
        assert not (tmp_path / "ballast").exists(), "the ballast was not given up"
        ended = WorkloadStatus(phase=Phase.COMPLETED, exit_code=0, created_at=1.0)
        await journal.update("kept", ended)
        with pytest.raises(StorageFullError):
            await journal.accept(record("refused at once"))
        db.execute(f"PRAGMA max_page_count={pages + 10_000}")
        free.free = 10**12
        await journal.accept(record("taken again"))
        assert (tmp_path / "ballast").exists()
        statuses = {item.id: item.status for item in journal.load()}
        assert statuses["kept"] == ended
        assert "refused at once" not in statuses
        assert "taken again" in statuses


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cnet.db"
    async with opened(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(ConfigError, match="newer CNET"):
        Journal(path).open()


async def test_a_file_of_an_older_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "cnet.db"
    connection = sqlite3.connect(path)
    connection.executescript(f"{MIGRATIONS[0]} PRAGMA user_version=1;")
    row = record("w")
    connection.execute(
        "INSERT INTO workloads (id, spec, status) VALUES (?, ?, ?)",
        ("w", row.spec.model_dump_json().encode(), orjson.dumps(row.status)),
    )
    connection.commit()
    connection.close()
    async with opened(path) as journal:
        assert [each.id for each in journal.load()] == ["w"]
        assert journal.load_services() == []
        await journal.put_service("m", b"1")


async def test_services_are_kept_until_they_are_deleted(tmp_path: Path) -> None:
    path = tmp_path / "cnet.db"
    async with opened(path) as journal:
        await journal.put_service("m", b"1")
        await journal.put_service("n", b"2")
        await journal.put_service("m", b"3")
        await journal.delete_service("n")
        await journal.delete_service("nobody")
    async with opened(path) as journal:
        assert journal.load_services() == [b"3"]


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cnet.db"
    path.write_bytes(b"this is not a database, and long enough to be looked at" * 100)
    with pytest.raises(ConfigError, match=r"agent\.data_dir"):
        Journal(path).open()
