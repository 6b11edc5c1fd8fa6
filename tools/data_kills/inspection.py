"""Looks at a data root from outside: are there exactly the bytes that the catalogue names?"""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path


def blobs_of(root: Path) -> dict[str, Path]:
    """Every blob, and whatever lies in `tmp`."""
    found = {path.name: path for path in (root / "blobs").glob("??/*")}
    return found | {f"tmp/{path.name}": path for path in (root / "tmp").iterdir()}


def digest(path: Path) -> tuple[int, str]:
    """(size, SHA-256) of a blob, be it a file or a directory of pieces."""
    pieces = sorted(path.iterdir()) if path.is_dir() else [path]
    whole, size = hashlib.sha256(), 0
    for piece in pieces:
        data = piece.read_bytes()
        whole.update(data)
        size += len(data)
    return size, whole.hexdigest()


def faults(root: Path) -> list[str]:
    """What does not fit; nothing may be writing."""
    connection = sqlite3.connect(root / "catalog.db")
    try:
        rows = connection.execute(
            "SELECT blob, size, sha256 FROM files UNION ALL SELECT blob, size, sha256 FROM parts"
        ).fetchall()
        garbage = {blob for (blob,) in connection.execute("SELECT blob FROM garbage")}
        layouts = {blob for (blob,) in connection.execute("SELECT blob FROM layouts")}
        (used,) = connection.execute("SELECT value FROM meta WHERE key = 'used_bytes'").fetchone()
    finally:
        connection.close()
    blobs = blobs_of(root)
    named = {blob: (size, sha256) for blob, size, sha256 in rows}
    found = [f"no bytes of {blob}" for blob in named.keys() - blobs.keys()]
    found += [f"nobody names {blob}" for blob in blobs.keys() - named.keys()]
    found += [f"garbage is named: {blob}" for blob in named.keys() & garbage]
    found += [f"layout of nothing: {blob}" for blob in layouts - named.keys()]
    found += [
        f"{blob} has other bytes"
        for blob in named.keys() & blobs.keys()
        if digest(blobs[blob]) != named[blob]
    ]
    total = sum(size for size, _ in named.values())
    if used != total:
        found.append(f"{used} bytes are counted, {total} are there")
    return found


def hidden_files(root: Path) -> list[str]:
    """Files of the store that stand in no bucket users see: staged, or not yet deleted."""
    connection = sqlite3.connect(root / "catalog.db")
    try:
        rows = connection.execute(
            "SELECT buckets.name, files.key FROM files JOIN buckets ON buckets.id = files.bucket "
            "WHERE buckets.name LIKE '.%'"
        ).fetchall()
    finally:
        connection.close()
    return [f"{bucket}/{key.decode()}" for bucket, key in rows]
