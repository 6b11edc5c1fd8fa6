"""The only writer of the agent's state database: one SQLite file, one thread, grouped commits.

A record whose `write` has returned survives a power cut (WAL with `synchronous=FULL`; measured in
docs/adr/0003). Whatever is queued while a commit is being synced goes into the next one together,
so that throughput does not pay for durability one by one.

A full disk: a ballast file beside the database is given up, so that ends and deletions can still be
recorded; acceptances are refused with StorageFullError until the ballast could be laid down again.
"""

from __future__ import annotations

import asyncio
import os
import queue
import shutil
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import structlog

from cnet._support.groups import next_group
from cnet.errors import CnetError, ConfigError, ConflictError, StorageFullError
from cnet.model.events import AgentEvent
from cnet.model.resources import MIB
from cnet.model.workload import WorkloadSpec, WorkloadStatus, status_from_dict

log = structlog.get_logger(__name__)

BALLAST_BYTES = 4 * MIB
EVENTS_KEPT = 10_000
MAX_GROUP = 512
"""Changes that may share one commit."""

MIGRATIONS: Final[Sequence[str]] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE workloads (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        spec BLOB NOT NULL,
        status BLOB NOT NULL
    );
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        time REAL NOT NULL,
        event TEXT NOT NULL,
        workload_id TEXT,
        data BLOB NOT NULL
    );
    """,
    """
    CREATE TABLE services (
        name TEXT PRIMARY KEY,
        record BLOB NOT NULL
    ) WITHOUT ROWID;
    """,
)
"""Applied in order; `PRAGMA user_version` tells how many a file has had."""


@dataclass(frozen=True, slots=True)
class Record:
    """A workload as it stands in the database."""

    id: str
    spec: WorkloadSpec
    status: WorkloadStatus


@dataclass(slots=True)
class _Change:
    apply: Callable[[sqlite3.Connection], None]
    future: asyncio.Future[None] | None
    accepts: bool
    workload_id: str | None = None
    """of a posted status, which must be posted again if the disk did not take it"""


class Journal:
    """Use: `open`, `load` once, then `write`/`post` from the event loop's thread, then `close`."""

    def __init__(self, path: Path, *, ballast_bytes: int = BALLAST_BYTES) -> None:
        self._path = path
        self._ballast = path.with_name("ballast")
        self._ballast_bytes = ballast_bytes
        self._queue: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._connection: sqlite3.Connection | None = None
        self._full = False
        self._since_pruned = 0
        self._lost: queue.SimpleQueue[str] = queue.SimpleQueue()

    # --- opening and reading -------------------------------------------------------------------

    def open(self) -> None:
        """Open or create the file, migrate it, start the writer.

        Raises ConfigError when the file is of a newer version, or cannot be used.
        """
        try:
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            self._path.chmod(0o600)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA wal_autocheckpoint=2000")
            self._migrate(connection)
        except sqlite3.Error as error:
            raise ConfigError(f"agent.data_dir: {self._path} cannot be used: {error}") from error
        self._connection = connection
        self._lay_ballast()
        self._thread.start()

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise ConfigError(
                f"agent.data_dir: {self._path} has schema {version}, this CNET knows "
                f"{len(MIGRATIONS)}; use the newer CNET that wrote it"
            )
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            connection.executescript(
                f"BEGIN IMMEDIATE; {script} PRAGMA user_version={number}; COMMIT;"
            )

    def load(self) -> list[Record]:
        """Every workload, oldest first. Call once, before the first write."""
        rows = self._db.execute("SELECT id, spec, status FROM workloads ORDER BY seq").fetchall()
        return [
            Record(
                workload_id,
                WorkloadSpec.model_validate_json(spec),
                status_from_dict(orjson.loads(status)),
            )
            for workload_id, spec, status in rows
        ]

    def load_services(self) -> list[bytes]:
        """The record of every service, by name. Only before the first write."""
        rows = self._db.execute("SELECT record FROM services ORDER BY name").fetchall()
        return [bytes(record) for (record,) in rows]

    def workload_ids(self) -> set[str]:
        """Ids of every workload. Only before the first write."""
        return {str(row[0]) for row in self._db.execute("SELECT id FROM workloads")}

    def last_event_seq(self) -> int:
        """The highest number the event stream has used; 0 for a new file."""
        (seq,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
        return int(seq)

    def meta(self, key: str) -> str | None:
        """A fact about this node that was put down with `set_meta`."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Put down a fact about this node; durable on return. Only before the first write.

        Raises StorageFullError.
        """
        try:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
        except sqlite3.OperationalError as error:
            if not self._is_full(error):
                raise
            raise StorageFullError(_FULL) from error

    def events_after(self, seq: int, limit: int) -> list[AgentEvent]:
        """Recorded events with a higher number, in order; safe beside the writer."""
        return self._events("seq > ? ORDER BY seq LIMIT ?", (seq, limit))

    def events_before(self, seq: int, limit: int, workload_id: str | None) -> list[AgentEvent]:
        """Recorded events with a lower number, newest first, of all workloads or of one."""
        if workload_id is None:
            return self._events("seq < ? ORDER BY seq DESC LIMIT ?", (seq, limit))
        condition = "seq < ? AND workload_id = ? ORDER BY seq DESC LIMIT ?"
        return self._events(condition, (seq, workload_id, limit))

    def _events(self, condition: str, values: tuple[int | str, ...]) -> list[AgentEvent]:
        connection = sqlite3.connect(self._path)
        try:
            rows = connection.execute(
                f"SELECT seq, time, event, workload_id, data FROM events WHERE {condition}",  # noqa: S608
                values,
            ).fetchall()
        finally:
            connection.close()
        return [
            AgentEvent(seq=n, time=at, event=event, workload_id=wid, data=orjson.loads(data))
            for n, at, event, wid, data in rows
        ]

    # --- writing -------------------------------------------------------------------------------

    async def accept(self, record: Record, events: Sequence[AgentEvent] = ()) -> None:
        """Record a new workload; durable on return.

        Raises StorageFullError, in which case nothing was recorded. When cancelled the change may
        or may not come about.
        """
        row = (record.id, record.spec.model_dump_json().encode(), orjson.dumps(record.status))

        def apply(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO workloads (id, spec, status) VALUES (?, ?, ?)", row)
            _insert_events(connection, events)

        await self._wait(apply, accepts=True)

    async def update(
        self, workload_id: str, status: WorkloadStatus, events: Sequence[AgentEvent] = ()
    ) -> None:
        """Record a status; durable on return."""
        await self._wait(_updating(workload_id, status, events))

    def post_update(
        self, workload_id: str, status: WorkloadStatus, events: Sequence[AgentEvent] = ()
    ) -> None:
        """Record a status soon, in order with all other changes, without waiting for the disk.

        For what a restart of the agent can find out again.
        """
        self._queue.put(_Change(_updating(workload_id, status, events), None, False, workload_id))

    def post_record(self, record: Record) -> None:
        """Record a workload as it is now, new or not, soon, in order with all other changes."""
        row = (record.id, record.spec.model_dump_json().encode(), orjson.dumps(record.status))

        def apply(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO workloads (id, spec, status) VALUES (?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET status = excluded.status",
                row,
            )

        self._queue.put(_Change(apply, None, False, record.id))

    async def barrier(self) -> set[str]:
        """Wait until all that was posted before is on the disk.

        Returns ids of workloads whose posted records the disk did not take: they must be posted
        again before anything that relies on them is done.
        """
        await self._wait(_nothing)
        return {self._lost.get() for _ in range(self._lost.qsize())}

    async def put_meta(self, key: str, value: str) -> None:
        """Put down a fact about this node; durable on return. Raises StorageFullError."""

        def apply(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

        await self._wait(apply)

    async def put_service(self, name: str, record: bytes) -> None:
        """Record a service as it is now, new or not; durable on return.

        Raises StorageFullError, in which case the former record stands.
        """

        def apply(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO services VALUES (?, ?)", (name, record))

        await self._wait(apply, accepts=True)

    async def delete_service(self, name: str) -> None:
        """Forget a service; durable on return; harmless for an unknown name."""

        def apply(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM services WHERE name = ?", (name,))

        await self._wait(apply)

    def post_events(self, events: Sequence[AgentEvent]) -> None:
        """Record events soon."""
        rows = list(events)
        self._queue.put(
            _Change(lambda connection: _insert_events(connection, rows), None, accepts=False)
        )

    async def delete(self, workload_ids: Sequence[str], events: Sequence[AgentEvent] = ()) -> None:
        """Forget workloads; durable on return; harmless for unknown ids."""
        keys = [(workload_id,) for workload_id in workload_ids]

        def apply(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM workloads WHERE id = ?", keys)
            _insert_events(connection, events)

        await self._wait(apply)

    def close(self) -> None:
        """Commit what is queued and close the file; blocks until done."""
        if self._connection is None:
            return
        self._queue.put(None)
        self._thread.join()
        self._connection.close()
        self._connection = None

    async def _wait(
        self, apply: Callable[[sqlite3.Connection], None], *, accepts: bool = False
    ) -> None:
        future = asyncio.get_running_loop().create_future()
        self._queue.put(_Change(apply, future, accepts))
        await future

    # --- the writer's thread -------------------------------------------------------------------

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the journal is not open")
        return self._connection

    def _run(self) -> None:
        closing = False
        while not closing:
            group, closing = next_group(self._queue, MAX_GROUP)
            if group:
                self._settle(group)

    def _settle(self, group: list[_Change]) -> None:
        """Commit a group; where that fails, each change by itself, so that one spoils no other."""
        if self._full:
            self._lay_ballast()
        refused = [change for change in group if change.accepts] if self._full else []
        group = [change for change in group if change not in refused]
        outcomes: list[tuple[_Change, CnetError | None]] = [
            (change, StorageFullError(_FULL)) for change in refused
        ]
        try:
            self._commit(group)
            outcomes += [(change, None) for change in group]
        except sqlite3.Error as error:
            log.warning("journal_group_failed", error=str(error), changes=len(group))
            if self._is_full(error):
                self._give_up_ballast()
            outcomes += [(change, self._settle_one(change)) for change in group]
        _tell(outcomes)

    def _settle_one(self, change: _Change) -> CnetError | None:
        if self._full and change.accepts:
            return StorageFullError(_FULL)
        try:
            self._commit([change])
        except sqlite3.IntegrityError as error:
            return ConflictError(f"id: {error}")
        except sqlite3.Error as error:
            log.exception("journal_change_lost")
            if change.workload_id is not None:
                self._lost.put(change.workload_id)
            return StorageFullError(f"the journal cannot be written: {error}")
        return None

    def _commit(self, group: Sequence[_Change]) -> None:
        connection = self._db
        connection.execute("BEGIN IMMEDIATE")
        try:
            for change in group:
                change.apply(connection)
            self._prune(connection, len(group))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _prune(self, connection: sqlite3.Connection, changes: int) -> None:
        self._since_pruned += changes
        if self._since_pruned >= 1000:
            self._since_pruned = 0
            connection.execute(
                "DELETE FROM events WHERE seq < (SELECT max(seq) FROM events) - ?", (EVENTS_KEPT,)
            )

    def _is_full(self, error: sqlite3.Error) -> bool:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            return True
        return shutil.disk_usage(self._path.parent).free < MIB

    def _lay_ballast(self) -> None:
        """Lay the ballast down again if there is clearly room for it; ends the full state."""
        if self._ballast.exists() and not self._full:
            return
        if shutil.disk_usage(self._path.parent).free < 3 * self._ballast_bytes:
            self._full = self._full or not self._ballast.exists()
            return
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._ballast_bytes)
        except OSError as error:
            log.warning("journal_ballast_failed", error=str(error))
            self._full = True
        else:
            self._full = False
        finally:
            os.close(descriptor)

    def _give_up_ballast(self) -> None:
        log.error("disk_full", path=str(self._path.parent), action="ballast given up")
        self._ballast.unlink(missing_ok=True)
        self._full = True


_FULL = "the disk that holds agent.data_dir is full; nothing was accepted"


def _tell(outcomes: Sequence[tuple[_Change, CnetError | None]]) -> None:
    """Wake everyone who waits, with one call into each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[None], CnetError | None]]]
    by_loop = {}
    for change, error in outcomes:
        if change.future is not None:
            by_loop.setdefault(change.future.get_loop(), []).append((change.future, error))
    for loop, waiting in by_loop.items():
        loop.call_soon_threadsafe(_resolve, waiting)


def _resolve(waiting: Sequence[tuple[asyncio.Future[None], CnetError | None]]) -> None:
    for future, error in waiting:
        if future.done():  # whoever waited was cancelled
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _nothing(_connection: sqlite3.Connection) -> None:
    """A change that changes nothing marks a place in the order."""


def _updating(
    workload_id: str, status: WorkloadStatus, events: Sequence[AgentEvent]
) -> Callable[[sqlite3.Connection], None]:
    row = (orjson.dumps(status), workload_id)

    def apply(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE workloads SET status = ? WHERE id = ?", row)
        _insert_events(connection, events)

    return apply


def _insert_events(connection: sqlite3.Connection, events: Sequence[AgentEvent]) -> None:
    connection.executemany(
        "INSERT INTO events (seq, time, event, workload_id, data) VALUES (?, ?, ?, ?, ?)",
        [(e.seq, e.time, e.event, e.workload_id, orjson.dumps(e.data)) for e in events],
    )
