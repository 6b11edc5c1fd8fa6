"""Pages of a bucket: keyset paging, one indexed seek for each common prefix, never an offset."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from cnet.storage.base import FileInfo, Page
from cnet.storage.queries import AFTER_ALL, bucket_id
from cnet.storage.rows import FILE_COLUMNS, file_from_row

EMPTY = Page((), (), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a page is asked for; see `Store.list`."""

    bucket: str
    prefix: bytes
    delimiter: bytes
    after: bytes
    limit: int
    past_group: bool


def list_files(connection: sqlite3.Connection, asked: Listing) -> Page:
    """One page. Raises NotFoundError for the bucket."""
    bucket = bucket_id(connection, asked.bucket)
    if asked.limit <= 0:
        return EMPTY
    prefix, delimiter = asked.prefix, asked.delimiter
    seek = _first(asked)
    end = prefix + AFTER_ALL
    files: list[FileInfo] = []
    prefixes: list[str] = []
    last = ""
    while True:
        group: bytes | None = None
        cursor = connection.execute(
            f"SELECT {FILE_COLUMNS} FROM files WHERE bucket = ? AND key >= ? AND key < ? "  # noqa: S608
            "ORDER BY key LIMIT ?",
            (bucket, seek, end, asked.limit + 1 - len(files) - len(prefixes)),
        )
        try:
            for row in cursor:
                if len(files) + len(prefixes) >= asked.limit:
                    return Page(tuple(files), tuple(prefixes), last)
                group = _group(row[0], prefix, delimiter)
                if group is not None:
                    break
                files.append(file_from_row(asked.bucket, row))
                last = files[-1].key
        finally:
            cursor.close()
        if group is None:
            return Page(tuple(files), tuple(prefixes), None)
        last = group.decode()
        prefixes.append(last)
        seek = group + AFTER_ALL


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
