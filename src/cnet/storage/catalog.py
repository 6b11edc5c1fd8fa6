"""The SQLite file that says which files there are: opening, reading, and the way to its writer."""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import anyio.to_thread

from cnet.errors import ConfigError
from cnet.storage.ballast import Ballast
from cnet.storage.schema import MIGRATIONS
from cnet.storage.writer import Apply, T, Writer

BUSY_S: Final = 60.0
"""How long a writer waits for those of other processes."""
READERS: Final = 4


class Catalog:
    """Use: `open`; `look`, `read` and `write` with functions over a connection; `close`.

    `storage.queries` holds the functions. Committed changes of any process are seen at once.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self._path = path
        self._ballast = Ballast(root)
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._writer: Writer | None = None
        self._connections: list[sqlite3.Connection] = []
        self._looks: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open or create the file, migrate it, start the writer.

        Raises ConfigError when the file is of a newer version, or cannot be used.
        """
        try:
            connection = self._connect()
            self._path.chmod(0o600)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA wal_autocheckpoint=2000")
            connection.execute("PRAGMA journal_size_limit=33554432")
            self._migrate(connection)
            self._looks = self._connect()
            for _ in range(READERS):
                self._readers.put(self._connect())
        except sqlite3.Error as error:
            self._disconnect()
            if self._ballast.is_full(error) and not self._ballast.given_up:
                self._ballast.give_up()
                self.open()
                return
            raise ConfigError(f"storage: {self._path} cannot be used: {error}") from error
        except ConfigError:
            self._disconnect()
            raise
        self._writer = Writer(connection, self._ballast)
        self._writer.start()

    def close(self) -> None:
        """Commit what waits and close the file; blocks until done. No reader may be at work."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._disconnect()

    def look(self, read: Apply[T]) -> T:
        """Read a row or two, in microseconds, on the event loop's thread."""
        if self._looks is None:
            raise RuntimeError("the catalogue is not open")
        return read(self._looks)

    async def read(self, read: Apply[T]) -> T:
        """Read more, in a thread."""
        return await anyio.to_thread.run_sync(partial(self.read_here, read))

    def read_here(self, read: Apply[T]) -> T:
        """Read one state, in the calling thread, which is not the event loop's."""
        with self._reader() as connection:
            connection.execute("BEGIN")
            try:
                return read(connection)
            finally:
                connection.execute("ROLLBACK")

    async def write(
        self,
        apply: Apply[T],
        *,
        needs_room: bool = False,
        committed: Callable[[], None] | None = None,
    ) -> T:
        """Change something; durable on return, or raised what `apply` raises and nothing done.

        `apply` runs in a thread, in one transaction, and may have to run twice. With `needs_room`
        StorageFullError while the disk is full. Not cancelled before it is decided; `committed`
        is called in the thread as soon as it is durable.
        """
        return await self._at_work.apply(apply, needs_room=needs_room, committed=committed)

    def post(self, apply: Apply[object]) -> None:
        """Change something soon that may as well not happen."""
        self._at_work.post(apply)

    @property
    def _at_work(self) -> Writer:
        if self._writer is None:
            raise RuntimeError("the catalogue is not open")
        return self._writer

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        self._connections.append(connection)
        return connection

    def _disconnect(self) -> None:
        self._looks = None
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        connection = self._readers.get()
        try:
            yield connection
        finally:
            self._readers.put(connection)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")  # another process may be doing the same
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > len(MIGRATIONS):
                raise ConfigError(
                    f"storage: {self._path} has schema {version}, this CNET knows "
                    f"{len(MIGRATIONS)}; use the newer CNET that wrote it"
                )
            for step in MIGRATIONS[version:]:
                for statement in step:
                    connection.execute(statement)
            if version < len(MIGRATIONS):  # else not a byte is written: the disk may be full
                connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
