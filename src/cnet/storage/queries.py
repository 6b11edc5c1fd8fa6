"""What is asked of the catalogue and changed in it, as functions over a connection.

Those that change run inside a transaction of the writer, and return blobs that nothing names any
more: they are in the table `garbage` by then, and their bytes may go.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from cnet.errors import ConflictError, ForbiddenError, NotFoundError, StorageFullError
from cnet.storage.base import Condition, FileInfo, Part
from cnet.storage.rows import (
    FILE_COLUMNS,
    file_from_row,
    file_to_row,
    parts_from_json,
    parts_to_json,
)

ALWAYS: Final = Condition()
AFTER_ALL: Final = b"\xff"
"""Behind every key that starts with what it is put behind: no UTF-8 has this byte."""


_FILE: Final = f"SELECT {FILE_COLUMNS} FROM files"  # noqa: S608 - literals
_FIND: Final = f"{_FILE} WHERE bucket = ? AND key = ?"
_LOOK_UP: Final = f"{_FILE} WHERE bucket = (SELECT id FROM buckets WHERE name = ?) AND key = ?"  # noqa: S608


# --- buckets -----------------------------------------------------------------------------------


def bucket_id(connection: sqlite3.Connection, name: str) -> int:
    """The number rows name a bucket by. Raises NotFoundError."""
    row = connection.execute("SELECT id FROM buckets WHERE name = ?", (name,)).fetchall()
    if not row:
        raise NotFoundError(f"no bucket {name!r}", code="no_such_bucket")
    return int(row[0][0])


def add_bucket(connection: sqlite3.Connection, name: str, now: float) -> bool:
    """False when it was there."""
    cursor = connection.execute(
        "INSERT INTO buckets (name, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, now)
    )
    return cursor.rowcount > 0


def drop_bucket(connection: sqlite3.Connection, name: str) -> None:
    """Raises NotFoundError, ConflictError."""
    bucket = bucket_id(connection, name)
    for table in ("files", "uploads"):
        sql = f"SELECT 1 FROM {table} WHERE bucket = ? LIMIT 1"  # noqa: S608 - a literal above
        if connection.execute(sql, (bucket,)).fetchall():
            raise ConflictError(f"bucket {name!r} still holds {table}", code="bucket_not_empty")
    connection.execute("DELETE FROM protected WHERE bucket = ?", (bucket,))
    connection.execute("DELETE FROM buckets WHERE id = ?", (bucket,))


def all_buckets(connection: sqlite3.Connection) -> list[tuple[str, float]]:
    """(name, created at) of those that are shown, by name."""
    return [
        (name, created_at)
        for name, created_at in connection.execute(
            "SELECT name, created_at FROM buckets ORDER BY name"
        ).fetchall()
        if not name.startswith(".")
    ]


# --- room --------------------------------------------------------------------------------------


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of all files and parts."""
    return int(_meta(connection, "used_bytes") or 0)


def quota_bytes(connection: sqlite3.Connection) -> int | None:
    """What all files and parts together may have; None: no bound but the disk."""
    return _meta(connection, "quota_bytes")


def set_quota(connection: sqlite3.Connection, quota: int | None) -> None:
    """Takes hold of every process's next put; what is there already stays."""
    connection.execute("UPDATE meta SET value = ? WHERE key = 'quota_bytes'", (quota,))


def check_quota(connection: sqlite3.Connection) -> None:
    """At the end of a change: raises StorageFullError when it went over the quota."""
    quota = quota_bytes(connection)
    if quota is None:
        return
    used = used_bytes(connection)
    if used > quota:
        raise StorageFullError(
            f"the quota of stored data is {quota} bytes; this would make it {used}",
            code="quota_exceeded",
        )


def _meta(connection: sqlite3.Connection, key: str) -> int | None:
    ((value,),) = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchall()
    return None if value is None else int(value)


# --- files -------------------------------------------------------------------------------------


def find_file(
    connection: sqlite3.Connection, bucket: int, bucket_name: str, key: bytes
) -> FileInfo | None:
    """A file without its parts."""
    rows = connection.execute(_FIND, (bucket, key)).fetchall()
    return file_from_row(bucket_name, rows[0]) if rows else None


def look_up(connection: sqlite3.Connection, bucket_name: str, key: bytes) -> FileInfo | None:
    """A file without its parts, in one step. Raises NotFoundError for the bucket."""
    rows = connection.execute(_LOOK_UP, (bucket_name, key)).fetchall()
    if rows:
        return file_from_row(bucket_name, rows[0])
    bucket_id(connection, bucket_name)
    return None


def layout(connection: sqlite3.Connection, blob: str) -> tuple[Part, ...]:
    """Parts of a file that was put in parts."""
    rows = connection.execute("SELECT parts FROM layouts WHERE blob = ?", (blob,)).fetchall()
    return parts_from_json(rows[0][0]) if rows else ()


def check_condition(present: FileInfo | None, condition: Condition) -> None:
    """Raises ConflictError (`precondition_failed`); NotFoundError for `if_match` of no file."""
    if condition.if_none_match and present is not None:
        raise ConflictError(f"there is a file {present.key!r} already", code="precondition_failed")
    if condition.if_match is None:
        return
    if present is None:
        raise NotFoundError("no file of that key to match", code="no_such_key")
    if condition.if_match not in {"*", present.etag}:
        raise ConflictError(
            f"{present.key!r} has the ETag {present.etag}, not {condition.if_match}",
            code="precondition_failed",
        )


def put_file(
    connection: sqlite3.Connection, file: FileInfo, condition: Condition, *, guarded: bool
) -> list[str]:
    """Put a file in place of what the key had; returns the old blob, if any.

    Raises NotFoundError, ConflictError, ForbiddenError, StorageFullError.
    """
    bucket = bucket_id(connection, file.bucket)
    key = file.key.encode()
    if guarded:
        check_unprotected(connection, bucket, key)
    present = find_file(connection, bucket, file.bucket, key)
    check_condition(present, condition)
    freed = [] if present is None else take_out(connection, bucket, [(key, present.blob)])
    connection.execute(
        f"INSERT INTO files (bucket, {FILE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (bucket, *file_to_row(file)),
    )
    if file.parts:
        connection.execute(
            "INSERT INTO layouts (blob, parts) VALUES (?, ?)",
            (file.blob, parts_to_json(file.parts)),
        )
    check_quota(connection)
    return freed


def delete_files(
    connection: sqlite3.Connection,
    bucket_name: str,
    keys: Sequence[bytes],
    condition: Condition = ALWAYS,
    *,
    guarded: bool,
) -> tuple[list[bytes], list[str]]:
    """Delete files; returns the keys that were there, and their blobs.

    Raises NotFoundError for the bucket, ConflictError, ForbiddenError.
    """
    bucket = bucket_id(connection, bucket_name)
    found: list[tuple[bytes, str]] = []
    for key in dict.fromkeys(keys):
        if guarded:
            check_unprotected(connection, bucket, key)
        present = find_file(connection, bucket, bucket_name, key)
        check_condition(present, condition)
        if present is not None:
            found.append((key, present.blob))
    return [key for key, _ in found], take_out(connection, bucket, found)


def delete_below(
    connection: sqlite3.Connection, bucket_name: str, prefix: bytes, limit: int, *, guarded: bool
) -> list[str]:
    """Delete the first `limit` files below a prefix; returns their blobs."""
    bucket = bucket_id(connection, bucket_name)
    rows = connection.execute(
        "SELECT key, blob FROM files WHERE bucket = ? AND key >= ? AND key < ? LIMIT ?",
        (bucket, prefix, prefix + AFTER_ALL, limit),
    ).fetchall()
    if guarded:
        for key, _ in rows:
            check_unprotected(connection, bucket, key)
    return take_out(connection, bucket, rows)


def move_below(
    connection: sqlite3.Connection,
    source: tuple[str, str],
    target: tuple[str, str],
) -> tuple[int, list[str]]:
    """Give all files below a (bucket, prefix) another one, at once; what is there goes.

    Returns their number, and the blobs of what went. Only inside a transaction of your own.
    """
    from_bucket, to_bucket = bucket_id(connection, source[0]), bucket_id(connection, target[0])
    old, new = source[1].encode(), target[1].encode()
    rows = connection.execute(
        "SELECT key FROM files WHERE bucket = ? AND key >= ? AND key < ?",
        (from_bucket, old, old + AFTER_ALL),
    ).fetchall()
    moves = [(key, new + key[len(old) :]) for (key,) in rows]
    freed: list[str] = []
    for _, key in moves:
        present = find_file(connection, to_bucket, target[0], key)
        if present is not None:
            freed += take_out(connection, to_bucket, [(key, present.blob)])
    connection.executemany(
        "UPDATE files SET bucket = ?, key = ? WHERE bucket = ? AND key = ?",
        [(to_bucket, key, from_bucket, was) for was, key in moves],
    )
    return len(moves), freed


def take_out(
    connection: sqlite3.Connection, bucket: int, files: Iterable[tuple[bytes, str]]
) -> list[str]:
    """Delete rows of files; returns their blobs, which are garbage then."""
    rows = list(files)
    connection.executemany(
        "DELETE FROM files WHERE bucket = ? AND key = ?", [(bucket, key) for key, _ in rows]
    )
    return discard(connection, [blob for _, blob in rows])


# --- blobs -------------------------------------------------------------------------------------


def discard(connection: sqlite3.Connection, blobs: Sequence[str]) -> list[str]:
    """Note blobs that nothing names any more; returns them."""
    names = [(blob,) for blob in blobs]
    connection.executemany("DELETE FROM layouts WHERE blob = ?", names)
    connection.executemany("INSERT INTO garbage (blob) VALUES (?) ON CONFLICT DO NOTHING", names)
    return list(blobs)


def forget_garbage(connection: sqlite3.Connection, blobs: Sequence[str]) -> None:
    """Their bytes are gone."""
    connection.executemany("DELETE FROM garbage WHERE blob = ?", [(blob,) for blob in blobs])


def is_garbage(connection: sqlite3.Connection, blob: str) -> bool:
    """Whether nothing names the blob, and its bytes were to be removed."""
    return bool(connection.execute("SELECT 1 FROM garbage WHERE blob = ?", (blob,)).fetchall())


def all_garbage(connection: sqlite3.Connection) -> list[str]:
    """Blobs that nothing names and whose bytes may still be there."""
    return [blob for (blob,) in connection.execute("SELECT blob FROM garbage").fetchall()]


def known_blobs(connection: sqlite3.Connection, blobs: Collection[str]) -> set[str]:
    """Which of them a file or a part names."""
    return {
        blob
        for blob in blobs
        if connection.execute(
            "SELECT 1 FROM files WHERE blob = ?1 UNION ALL SELECT 1 FROM parts WHERE blob = ?1",
            (blob,),
        ).fetchall()
    }


# --- protection --------------------------------------------------------------------------------


def protect(connection: sqlite3.Connection, bucket_name: str, prefix: str) -> None:
    """Let no gateway change keys below a prefix, which is a key's first segment and `/`."""
    bucket = bucket_id(connection, bucket_name)
    connection.execute(
        "INSERT INTO protected (bucket, prefix) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (bucket, prefix.encode()),
    )


def unprotect(connection: sqlite3.Connection, bucket_name: str, prefix: str) -> None:
    """The reverse; harmless when it was not protected."""
    bucket = bucket_id(connection, bucket_name)
    connection.execute(
        "DELETE FROM protected WHERE bucket = ? AND prefix = ?", (bucket, prefix.encode())
    )


def check_unprotected(connection: sqlite3.Connection, bucket: int, key: bytes) -> None:
    """Raises ForbiddenError (`read_only`)."""
    prefix = key[: key.find(b"/") + 1]
    if connection.execute(
        "SELECT 1 FROM protected WHERE bucket = ? AND prefix = ?", (bucket, prefix)
    ).fetchall():
        raise ForbiddenError(f"{prefix.decode()!r} is read-only", code="read_only")
