"""Rows of data objects, as values and as functions over a connection; see `storage.objects`."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from cnet._support import clock
from cnet.errors import ConflictError
from cnet.storage import queries
from cnet.storage.base import FileInfo
from cnet.storage.rows import FILE_COLUMNS, file_from_row

DEFAULT_BUCKET: Final = "cnet"
STAGING: Final = ".staging"
EXCLUSIVE: Final = ".exclusive"
HELD: Final = 20
"""Files that an object's description names; there may be more."""
PATH_BYTES: Final = 960
"""Of a path in an object: so much of a key is left beside the names of stages."""
STEP: Final = 1000
COLUMNS: Final = "data_key, bucket, workload_id, run, single, about, created_at, updated_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataObject:
    """What is known of an object besides its files."""

    data_key: str
    workload_id: str
    run: str
    """names the run or upload that has stored it"""
    single: str | None
    """the path of its one file; None for a tree"""
    name: str = ""
    data_type: str = "file"
    access_mode: str = "readonly"
    upload_method: str = "path"
    tags: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_at: float = 0.0
    """Unix seconds"""
    updated_at: float = 0.0

    @property
    def bucket(self) -> str:
        """Where its files are."""
        return EXCLUSIVE if self.access_mode == "exclusive" else DEFAULT_BUCKET

    @property
    def prefix(self) -> str:
        """Of its files' keys."""
        return f"{self.data_key}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """An object with what it holds now."""

    object: DataObject
    file_count: int
    size: int
    """bytes"""
    files: tuple[FileInfo, ...]
    """the first of them"""
    single: FileInfo | None
    """the one file of an object that is no tree"""


def is_text(name: str) -> bool:
    """Whether it can be handed to SQLite."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def bucket_names(connection: sqlite3.Connection) -> list[tuple[str]]:
    """All, hidden ones too."""
    return connection.execute("SELECT name FROM buckets").fetchall()


def publish(connection: sqlite3.Connection, stage: str, item: DataObject) -> list[str]:
    """Make what was staged an object; returns blobs that went. Raises ConflictError."""
    freed: list[str] = []
    present = find(connection, item.data_key)
    if present is not None:
        if present.workload_id != item.workload_id:
            raise ConflictError(
                f"data_key: {item.data_key!r} belongs to workload {present.workload_id}; delete "
                "that, or choose another key",
                code="data_key_taken",
            )
        freed += take_out_below(connection, present)
        drop(connection, present)
    if contents(connection, item, 0).file_count:
        raise ConflictError(
            f"data_key: there are files below {item.prefix!r} in bucket {item.bucket!r} already",
            code="data_key_taken",
        )
    queries.move_below(connection, (STAGING, f"{stage}/"), (item.bucket, item.prefix))
    if item.access_mode == "readonly":
        queries.protect(connection, item.bucket, item.prefix)
    connection.execute(
        f"INSERT INTO objects ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - a literal
        to_row(item),
    )
    return freed


def take_out_below(connection: sqlite3.Connection, item: DataObject) -> list[str]:
    """Delete the files of an object; returns their blobs."""
    freed: list[str] = []
    prefix = item.prefix.encode()
    while blobs := queries.delete_below(connection, item.bucket, prefix, STEP, guarded=False):
        freed += blobs
    return freed


def drop(connection: sqlite3.Connection, item: DataObject) -> None:
    """Delete the row of an object."""
    queries.unprotect(connection, item.bucket, item.prefix)
    connection.execute("DELETE FROM objects WHERE data_key = ?", (item.data_key,))


def touch(connection: sqlite3.Connection, item: DataObject) -> None:
    """Note that an object was changed."""
    connection.execute(
        "UPDATE objects SET updated_at = ? WHERE data_key = ?", (clock.now(), item.data_key)
    )


def find(connection: sqlite3.Connection, data_key: str) -> DataObject | None:
    """The object of that key."""
    return one(connection, "data_key = ?", data_key)


def one(connection: sqlite3.Connection, condition: str, value: str) -> DataObject | None:
    """The object that meets a condition on a column that is unique."""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM objects WHERE {condition}",  # noqa: S608 - literals
        (value,),
    ).fetchall()
    return from_row(rows[0]) if rows else None


def contents(connection: sqlite3.Connection, item: DataObject, limit: int) -> Contents:
    """What an object holds, with the first `limit` of its files."""
    bucket = queries.bucket_id(connection, item.bucket)
    prefix = item.prefix.encode()
    where = "FROM files WHERE bucket = ? AND key >= ? AND key < ?"
    bounds = (bucket, prefix, prefix + queries.AFTER_ALL)
    ((count, size),) = connection.execute(
        f"SELECT count(*), coalesce(sum(size), 0) {where}",
        bounds,
    ).fetchall()
    rows = connection.execute(
        f"SELECT {FILE_COLUMNS} {where} ORDER BY key LIMIT ?",
        (*bounds, limit),
    ).fetchall()
    single = None
    if item.single is not None:
        key = (item.prefix + item.single).encode()
        single = queries.find_file(connection, bucket, item.bucket, key)
    return Contents(
        object=item,
        file_count=count,
        size=size,
        files=tuple(file_from_row(item.bucket, row) for row in rows),
        single=single,
    )


def page(connection: sqlite3.Connection, after: str, limit: int) -> list[Contents]:
    """Objects behind a data key, in the order of the keys, without their files."""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM objects WHERE data_key > ? ORDER BY data_key LIMIT ?",  # noqa: S608
        (after, limit),
    ).fetchall()
    return [contents(connection, from_row(row), 0) for row in rows]


def mark(connection: sqlite3.Connection) -> tuple[object, ...]:
    """Another one after every change of an object by its workload or by users."""
    rows = connection.execute("SELECT count(*), max(updated_at), max(created_at) FROM objects")
    return (*rows.fetchall()[0], queries.used_bytes(connection))


def largest(connection: sqlite3.Connection, limit: int) -> list[tuple[str, int]]:
    """Keys of the objects with the most bytes, and how many."""
    return connection.execute(
        """
        SELECT data_key, (
            SELECT coalesce(sum(size), 0) FROM files
            WHERE files.bucket = buckets.id
            AND files.key >= CAST(data_key || '/' AS BLOB)
            AND files.key < CAST(data_key || '0' AS BLOB)
        ) AS bytes
        FROM objects JOIN buckets ON buckets.name = objects.bucket
        ORDER BY bytes DESC, data_key LIMIT ?
        """,  # '0' is the character after '/'
        (limit,),
    ).fetchall()


def to_row(item: DataObject) -> tuple[object, ...]:
    """Its values in the order of COLUMNS."""
    about = {
        "name": item.name,
        "data_type": item.data_type,
        "access_mode": item.access_mode,
        "upload_method": item.upload_method,
        "tags": list(item.tags),
        "metadata": dict(item.metadata),
    }
    return (
        item.data_key,
        item.bucket,
        item.workload_id,
        item.run,
        item.single,
        orjson.dumps(about),
        item.created_at,
        item.updated_at,
    )


def from_row(row: Sequence[Any]) -> DataObject:
    """The inverse of `to_row`."""
    data_key, _, workload_id, run, single, about, created_at, updated_at = row
    return DataObject(
        data_key=data_key,
        workload_id=workload_id,
        run=run,
        single=single,
        created_at=created_at,
        updated_at=updated_at,
        **orjson.loads(about),
    )
