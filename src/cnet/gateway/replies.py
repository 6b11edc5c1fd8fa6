"""Replies: XML, errors, and the headers that describe a stored file."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache

from cnet.gateway import xml
from cnet.gateway.errors import S3Error
from cnet.storage.base import FileInfo

Header = tuple[bytes, bytes]

# The headers of a file that are given back as they came in.
KEPT = ("cache-control", "content-disposition", "content-encoding", "content-language", "expires")

_NOT_PLAIN = re.compile(r"[^\x20-\x7e]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_XML_TYPE = (b"content-type", b"application/xml")


@dataclass(slots=True)
class FilePart:
    """Bytes of a stored file as the body of a reply."""

    file: FileInfo
    start: int
    length: int


@dataclass(slots=True)
class Reply:
    """Status, headers and body; `content-length` is added by whoever sends it."""

    status: int = 200
    headers: list[Header] = field(default_factory=list)
    body: bytes | FilePart = b""


def xml_reply(
    name: str, content: xml.Content, *, headers: Iterable[Header] = (), status: int = 200
) -> Reply:
    """A document of S3's namespace."""
    return Reply(status, [_XML_TYPE, *headers], xml.document(name, content))


def error_reply(error: S3Error, *, resource: str, request_id: str) -> Reply:
    """The document every error is answered with."""
    content: list[xml.Element] = [
        ("Code", error.code),
        ("Message", error.message),
        *error.extra.items(),
        ("Resource", resource),
        ("RequestId", request_id),
    ]
    body = xml.document("Error", content, namespace=False)
    return Reply(error.status, [_XML_TYPE, *error.headers], body)


def file_headers(file: FileInfo) -> list[Header]:
    """What GET and HEAD tell about a file besides its length."""
    headers = [
        (b"content-type", plain(file.content_type)),
        (b"etag", b'"%s"' % file.etag.encode()),
        (b"last-modified", http_date(int(file.modified_at))),
        (b"accept-ranges", b"bytes"),
    ]
    if file.headers:
        headers += [
            (name.encode(), plain(value)) for name, value in file.headers.items() if name in KEPT
        ]
    if file.metadata:
        headers += _metadata_headers(file.metadata)
    return headers


def checksum_headers(checksums: Mapping[str, str], kind: str | None) -> list[Header]:
    """`x-amz-checksum-…`, and of which type it is."""
    if not checksums:
        return []
    headers = [
        (b"x-amz-checksum-" + name.encode(), value.encode()) for name, value in checksums.items()
    ]
    return [*headers, (b"x-amz-checksum-type", (kind or "FULL_OBJECT").encode())]


def checksum_elements(checksums: Mapping[str, str], kind: str | None) -> list[xml.Element]:
    """The same as elements of a reply."""
    if not checksums:
        return []
    elements: list[xml.Element] = [
        (f"Checksum{name.upper()}", value) for name, value in checksums.items()
    ]
    if kind:
        elements.append(("ChecksumType", kind))
    return elements


@lru_cache(maxsize=1024)
def http_date(unix_s: int) -> bytes:
    """`Sat, 21 Nov 2026 08:30:00 GMT`."""
    return formatdate(unix_s, usegmt=True).encode()


def plain(text: str) -> bytes:
    """A header's value: ASCII as it is, else as MIME words, which is what S3 does."""
    if not _NOT_PLAIN.search(text):
        return text.encode()
    return b"=?UTF-8?B?" + b64encode(text.encode("utf-8", "replace")) + b"?="


def _metadata_headers(metadata: Mapping[str, str]) -> list[Header]:
    headers = []
    missing = 0
    for name, value in metadata.items():
        if _TOKEN.fullmatch(name):
            headers.append((b"x-amz-meta-" + name.encode(), plain(value)))
        else:
            missing += 1
    if missing:
        headers.append((b"x-amz-missing-meta", str(missing).encode()))
    return headers
