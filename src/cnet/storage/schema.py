"""The catalogue's tables. Keys are BLOBs: their order is that of the UTF-8 bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_USED = "UPDATE meta SET value = value + {} WHERE key = 'used_bytes'"

_FIRST: Sequence[str] = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID",
    "INSERT INTO meta VALUES ('used_bytes', 0), ('quota_bytes', NULL)",
    """
    CREATE TABLE buckets (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        created_at REAL NOT NULL
    )
    """,
    """
    CREATE TABLE files (
        bucket INTEGER NOT NULL REFERENCES buckets (id),
        key BLOB NOT NULL,
        blob TEXT NOT NULL,
        size INTEGER NOT NULL,
        etag TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        content_type TEXT NOT NULL,
        modified_at REAL NOT NULL,
        extra BLOB,
        PRIMARY KEY (bucket, key)
    ) WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX files_blob ON files (blob)",
    # parts of files that were put in parts, by the file's blob; JSON
    "CREATE TABLE layouts (blob TEXT PRIMARY KEY, parts BLOB NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE uploads (
        id TEXT PRIMARY KEY,
        bucket INTEGER NOT NULL REFERENCES buckets (id),
        key BLOB NOT NULL,
        content_type TEXT NOT NULL,
        extra BLOB,
        checksum TEXT,
        checksum_type TEXT,
        initiated_at REAL NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX uploads_key ON uploads (bucket, key, id)",
    """
    CREATE TABLE parts (
        upload TEXT NOT NULL REFERENCES uploads (id),
        number INTEGER NOT NULL,
        blob TEXT NOT NULL,
        size INTEGER NOT NULL,
        md5 TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        checksums BLOB,
        modified_at REAL NOT NULL,
        PRIMARY KEY (upload, number)
    ) WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX parts_blob ON parts (blob)",
    # what a completed upload became, so that a client may ask twice
    """
    CREATE TABLE completed (
        upload TEXT PRIMARY KEY,
        blob TEXT NOT NULL,
        parts TEXT NOT NULL,
        completed_at REAL NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX completed_at ON completed (completed_at)",
    # blobs no row names any more, until their bytes are gone
    "CREATE TABLE garbage (blob TEXT PRIMARY KEY) WITHOUT ROWID",
    # keys below these are not changed through a store that was opened for a gateway
    """
    CREATE TABLE protected (
        bucket INTEGER NOT NULL REFERENCES buckets (id),
        prefix BLOB NOT NULL,
        PRIMARY KEY (bucket, prefix)
    ) WITHOUT ROWID
    """,
    f"CREATE TRIGGER file_in AFTER INSERT ON files BEGIN {_USED.format('NEW.size')}; END",
    f"CREATE TRIGGER file_out AFTER DELETE ON files BEGIN {_USED.format('-OLD.size')}; END",
    f"CREATE TRIGGER part_in AFTER INSERT ON parts BEGIN {_USED.format('NEW.size')}; END",
    f"CREATE TRIGGER part_out AFTER DELETE ON parts BEGIN {_USED.format('-OLD.size')}; END",
)

_OBJECTS: Sequence[str] = (
    # data objects (`storage.objects`); their files are those below `<data_key>/` in the bucket
    """
    CREATE TABLE objects (
        data_key TEXT PRIMARY KEY,
        bucket TEXT NOT NULL,
        workload_id TEXT NOT NULL UNIQUE,
        run TEXT NOT NULL,
        single TEXT,
        about BLOB NOT NULL,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL
    ) WITHOUT ROWID
    """,
)

MIGRATIONS: Final[Sequence[Sequence[str]]] = (_FIRST, _OBJECTS)
"""Statements, applied in order; `PRAGMA user_version` tells how many steps a file has had."""
