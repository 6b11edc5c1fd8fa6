"""Pages of a bucket: keyset paging, one indexed seek for each common prefix, never an offset."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cnet.storage.base import Entry, FileInfo, Page, T_File
from cnet.storage.queries import AFTER_ALL, bucket_id
from cnet.storage.rows import ENTRY_COLUMNS, FILE_COLUMNS, entry_from_row, file_from_row

Row = Sequence[Any]
"""Of some columns, of which the key is the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a page is asked for; see `Store.list`."""

    bucket: str
    prefix: bytes
    delimiter: bytes
    after: bytes
    limit: int
    past_group: bool


def list_files(connection: sqlite3.Connection, asked: Listing) -> Page[FileInfo]:
    """One page. Raises NotFoundError for the bucket."""
    return _list(connection, asked, FILE_COLUMNS, partial(file_from_row, asked.bucket))


def list_entries(connection: sqlite3.Connection, asked: Listing) -> Page[Entry]:
    """The same of entries."""
    return _list(connection, asked, ENTRY_COLUMNS, entry_from_row)


def _list(
    connection: sqlite3.Connection, asked: Listing, columns: str, make: Callable[[Row], T_File]
) -> Page[T_File]:
    bucket = bucket_id(connection, asked.bucket)
    if asked.limit <= 0:
        return Page((), (), None)
    prefix, delimiter = asked.prefix, asked.delimiter
    seek = _first(asked)
    end = prefix + AFTER_ALL
    shown: list[Row] = []
    prefixes: list[str] = []
    last = b""
    while True:
        room = asked.limit - len(shown) - len(prefixes)
        cursor = connection.execute(
            f"SELECT {columns} FROM files WHERE bucket = ? AND key >= ? AND key < ? "  # noqa: S608
            "ORDER BY key LIMIT ?",
            (bucket, seek, end, room + 1),
        )
        rows, group = _until_group(cursor, prefix, delimiter)
        shown += rows[:room]
        if rows and room:
            last = shown[-1][0]
        more = len(rows) > room or (group is not None and len(rows) == room)
        if more or group is None:
            return Page(tuple(map(make, shown)), tuple(prefixes), last.decode() if more else None)
        last = group
        prefixes.append(group.decode())
        seek = group + AFTER_ALL


def _until_group(
    cursor: sqlite3.Cursor, prefix: bytes, delimiter: bytes
) -> tuple[list[Row], bytes | None]:
    """The rows up to the first that is shown as a common prefix, and that prefix."""
    try:
        if not delimiter:
            return cursor.fetchall(), None
        rows: list[Row] = []
        for row in cursor:
            group = _group(row[0], prefix, delimiter)
            if group is not None:
                return rows, group
            rows.append(row)
        return rows, None
    finally:
        cursor.close()


def _first(asked: Listing) -> bytes:
    """Where the page begins."""
    if not asked.after:
        return asked.prefix
    group = _group(asked.after, asked.prefix, asked.delimiter) if asked.past_group else None
    if group is not None:
        return group + AFTER_ALL
    return max(asked.prefix, asked.after + b"\x00")


def _group(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """The common prefix a key is shown as, if any."""
    if not delimiter or not key.startswith(prefix):
        return None
    at = key.find(delimiter, len(prefix))
    return None if at < 0 else key[: at + len(delimiter)]
