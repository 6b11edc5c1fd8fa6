"""Between the values of `storage.base` and the catalogue's rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from cnet.storage.base import NOTHING, Attributes, Entry, FileInfo, Part, Upload

FILE_COLUMNS: Final = "key, blob, size, etag, sha256, content_type, modified_at, extra"
ENTRY_COLUMNS: Final = "key, size, etag, modified_at, extra"
UPLOAD_COLUMNS: Final = "id, key, content_type, extra, checksum, checksum_type, initiated_at"
PART_COLUMNS: Final = "number, size, md5, sha256, modified_at, checksums, blob"


def file_from_row(bucket: str, row: sqlite3.Row | Sequence[Any]) -> FileInfo:
    """A file without its parts."""
    key, blob, size, etag, sha256, content_type, modified_at, extra = row
    more = _more(extra)
    return FileInfo(
        bucket=bucket,
        key=key.decode(),
        blob=blob,
        size=size,
        etag=etag,
        sha256=sha256,
        content_type=content_type,
        modified_at=modified_at,
        metadata=more.get("metadata", NOTHING),
        headers=more.get("headers", NOTHING),
        checksums=more.get("checksums", NOTHING),
        checksum_type=more.get("checksum_type"),
    )


def entry_from_row(row: Sequence[Any]) -> Entry:
    """What a listing shows of a file."""
    key, size, etag, modified_at, extra = row
    if extra is None:
        return Entry(key.decode(), size, etag, modified_at, NOTHING, None)
    more = _more(extra)
    checksums, kind = more.get("checksums", NOTHING), more.get("checksum_type")
    return Entry(key.decode(), size, etag, modified_at, checksums, kind)


def file_to_row(file: FileInfo) -> tuple[object, ...]:
    """Its values in the order of FILE_COLUMNS."""
    return (
        file.key.encode(),
        file.blob,
        file.size,
        file.etag,
        file.sha256,
        file.content_type,
        file.modified_at,
        _extra(
            metadata=file.metadata,
            headers=file.headers,
            checksums=file.checksums,
            checksum_type=file.checksum_type,
        ),
    )


def upload_from_row(bucket: str, row: Sequence[Any]) -> Upload:
    """An unfinished upload."""
    upload_id, key, content_type, extra, checksum, checksum_type, initiated_at = row
    more = _more(extra)
    return Upload(
        upload_id=upload_id,
        bucket=bucket,
        key=key.decode(),
        attributes=Attributes(
            content_type=content_type,
            metadata=more.get("metadata", NOTHING),
            headers=more.get("headers", NOTHING),
        ),
        checksum=checksum,
        checksum_type=checksum_type,
        initiated_at=initiated_at,
    )


def upload_to_row(upload: Upload) -> tuple[object, ...]:
    """Its values in the order of UPLOAD_COLUMNS."""
    attributes = upload.attributes
    return (
        upload.upload_id,
        upload.key.encode(),
        attributes.content_type,
        _extra(metadata=attributes.metadata, headers=attributes.headers),
        upload.checksum,
        upload.checksum_type,
        upload.initiated_at,
    )


def part_from_row(row: Sequence[Any]) -> tuple[Part, Mapping[str, str], str]:
    """A part, its checksums, its blob."""
    number, size, md5, sha256, modified_at, checksums, blob = row
    part = Part(number, size, md5, sha256, modified_at)
    return part, orjson.loads(checksums) if checksums else NOTHING, blob


def part_to_row(part: Part, checksums: Mapping[str, str], blob: str) -> tuple[object, ...]:
    """Its values in the order of PART_COLUMNS."""
    return (
        part.number,
        part.size,
        part.md5,
        part.sha256,
        part.modified_at,
        orjson.dumps(dict(checksums)) if checksums else None,
        blob,
    )


def parts_to_json(parts: Sequence[Part]) -> bytes:
    """The layout of a file that was put in parts."""
    return orjson.dumps([(p.number, p.size, p.md5, p.sha256, p.modified_at) for p in parts])


def parts_from_json(data: bytes) -> tuple[Part, ...]:
    """The reverse."""
    return tuple(Part(*values) for values in orjson.loads(data))


def _more(extra: bytes | None) -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = orjson.loads(extra) if extra else NOTHING
    return loaded


def _extra(**values: Mapping[str, str] | str | None) -> bytes | None:
    given = {
        name: value if isinstance(value, str) else dict(value)
        for name, value in values.items()
        if value
    }
    return orjson.dumps(given) if given else None
