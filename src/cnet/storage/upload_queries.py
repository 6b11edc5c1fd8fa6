"""What is asked of the catalogue, and changed in it, about uploads in parts; see `queries`."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cnet.errors import ConflictError, NotFoundError
from cnet.storage.base import Condition, FileInfo, Part, Upload
from cnet.storage.queries import AFTER_ALL, bucket_id, check_quota, discard, put_file
from cnet.storage.rows import (
    PART_COLUMNS,
    UPLOAD_COLUMNS,
    part_from_row,
    part_to_row,
    upload_from_row,
    upload_to_row,
)

NO_SUCH_UPLOAD: Final = "no_such_upload"
REMEMBERED_S: Final = 24 * 3600.0
"""How long a client may ask again for what it completed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What an upload becomes."""

    upload_id: str
    blobs: tuple[tuple[int, str], ...]
    """(number, blob) of the parts it was joined of"""
    asked: str
    """digest of the parts the client named"""
    file: FileInfo
    condition: Condition
    guarded: bool


def no_upload(upload_id: str) -> NotFoundError:
    """The error for an id that names no unfinished upload of that key."""
    return NotFoundError(f"no upload {upload_id[:100]!r} of that key", code=NO_SUCH_UPLOAD)


def add_upload(connection: sqlite3.Connection, upload: Upload) -> None:
    """Raises NotFoundError for the bucket."""
    connection.execute(
        f"INSERT INTO uploads (bucket, {UPLOAD_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (bucket_id(connection, upload.bucket), *upload_to_row(upload)),
    )


def find_upload(
    connection: sqlite3.Connection, bucket: int, bucket_name: str, upload_id: str
) -> Upload | None:
    """An unfinished upload."""
    rows = connection.execute(
        f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE id = ? AND bucket = ?",  # noqa: S608
        (upload_id, bucket),
    ).fetchall()
    return upload_from_row(bucket_name, rows[0]) if rows else None


def uploads(
    connection: sqlite3.Connection,
    bucket_name: str,
    prefix: bytes,
    after: tuple[bytes, str],
    limit: int,
) -> list[Upload]:
    """Unfinished uploads by (key, id)."""
    bucket = bucket_id(connection, bucket_name)
    rows = connection.execute(
        f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE bucket = ? AND key >= ? AND key < ? "  # noqa: S608
        "AND (key, id) > (?, ?) ORDER BY key, id LIMIT ?",
        (bucket, prefix, prefix + AFTER_ALL, *after, limit),
    ).fetchall()
    return [upload_from_row(bucket_name, row) for row in rows]


def begun_before(connection: sqlite3.Connection, moment: float) -> list[str]:
    """Ids of old uploads."""
    rows = connection.execute("SELECT id FROM uploads WHERE initiated_at < ?", (moment,)).fetchall()
    return [upload_id for (upload_id,) in rows]


def parts(
    connection: sqlite3.Connection, upload_id: str, after: int, limit: int
) -> list[tuple[Part, Mapping[str, str], str]]:
    """(part, checksums, blob) by number."""
    rows = connection.execute(
        f"SELECT {PART_COLUMNS} FROM parts WHERE upload = ? AND number > ? "  # noqa: S608
        "ORDER BY number LIMIT ?",
        (upload_id, after, limit),
    ).fetchall()
    return [part_from_row(row) for row in rows]


def put_part(
    connection: sqlite3.Connection,
    upload_id: str,
    part: Part,
    checksums: Mapping[str, str],
    blob: str,
) -> list[str]:
    """Put a part in place of the one with its number; returns the old blob, if any.

    Raises NotFoundError, StorageFullError.
    """
    if not connection.execute("SELECT 1 FROM uploads WHERE id = ?", (upload_id,)).fetchall():
        raise no_upload(upload_id)
    freed = _take_out(connection, upload_id, number=part.number)
    connection.execute(
        f"INSERT INTO parts (upload, {PART_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (upload_id, *part_to_row(part, checksums, blob)),
    )
    check_quota(connection)
    return freed


def drop_upload(connection: sqlite3.Connection, upload_id: str) -> list[str]:
    """Forget an upload and its parts; returns their blobs."""
    freed = _take_out(connection, upload_id)
    connection.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))
    return freed


def complete_upload(connection: sqlite3.Connection, done: Completion) -> list[str]:
    """Put the file in place of the upload; returns blobs of the parts and of the old file.

    Raises NotFoundError, ConflictError when a part was replaced meanwhile, and as `put_file`.
    """
    if not connection.execute("SELECT 1 FROM uploads WHERE id = ?", (done.upload_id,)).fetchall():
        raise no_upload(done.upload_id)
    present = dict(
        connection.execute("SELECT number, blob FROM parts WHERE upload = ?", (done.upload_id,))
    )
    if any(present.get(number) != blob for number, blob in done.blobs):
        raise ConflictError("a part was replaced while the upload was completed")
    freed = drop_upload(connection, done.upload_id)
    freed += put_file(connection, done.file, done.condition, guarded=done.guarded)
    moment = done.file.modified_at
    connection.execute(
        "INSERT INTO completed (upload, blob, parts, completed_at) VALUES (?, ?, ?, ?)",
        (done.upload_id, done.file.blob, done.asked, moment),
    )
    connection.execute("DELETE FROM completed WHERE completed_at < ?", (moment - REMEMBERED_S,))
    return freed


def completed(connection: sqlite3.Connection, upload_id: str) -> tuple[str, str] | None:
    """(blob, digest of the parts the client named) of an upload that was completed."""
    rows = connection.execute(
        "SELECT blob, parts FROM completed WHERE upload = ?", (upload_id,)
    ).fetchall()
    return (rows[0][0], rows[0][1]) if rows else None


def _take_out(
    connection: sqlite3.Connection, upload_id: str, number: int | None = None
) -> list[str]:
    rows = connection.execute(
        "DELETE FROM parts WHERE upload = ?1 AND (?2 IS NULL OR number = ?2) RETURNING blob",
        (upload_id, number),
    ).fetchall()
    return discard(connection, [blob for (blob,) in rows])
