"""Listings are written as text in one go: the same bytes as element by element, and readable."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote
from xml.etree import ElementTree

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st

from cnet.errors import SpecError
from cnet.gateway import xml
from cnet.gateway.app import GatewayApp
from cnet.gateway.authentication import Authenticator
from cnet.gateway.service import OWNER, Gateway
from cnet.gateway.xml import Element
from cnet.storage import NodeStore, open_store, queries
from cnet.storage.base import FileInfo
from cnet.storage.names import check_key

_NAME = f"{{{xml.NAMESPACE}}}"
_numbers = itertools.count()

_characters = st.one_of(
    st.sampled_from("&<>\"'/ %+;=?#\t\n\r\x7f\x85\ufeffé日\U0001f600"),
    st.characters(exclude_categories=["Cs"]),
)
keys = st.text(_characters, min_size=1, max_size=12).filter(lambda key: _is_taken(key))
times = st.floats(0, 4_102_444_800)
checksums = st.sampled_from(
    [
        ({}, None),
        ({"crc32": "AAAAAA=="}, "FULL_OBJECT"),
        ({"crc32c": "AAAAAA==", "sha1": "x"}, "COMPOSITE"),
        ({"sha256": "x"}, None),
    ]
)


@dataclass
class Opened:
    """A store and the application over it, in an event loop of their own."""

    portal: BlockingPortal
    store: NodeStore
    app: GatewayApp

    def fill(self, files: Sequence[FileInfo]) -> None:
        def add(connection: sqlite3.Connection) -> None:
            queries.add_bucket(connection, files[0].bucket, 0.0)
            for file in files:
                queries.put_file(connection, file, queries.ALWAYS, guarded=False)

        self.portal.call(self.store.catalog.write, add)

    def get(self, target: str) -> bytes:
        """The body of the reply, which must be 200."""
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "method": "GET",
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"host", b"127.0.0.1")],
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        self.portal.call(self.app, scope, receive, send)
        body = b"".join(message.get("body", b"") for message in sent)
        assert sent[0]["status"] == 200, body
        return body


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(open_store(tmp_path_factory.mktemp("store"))) as store,
    ):
        authenticator = Authenticator(None, anonymous=True)
        yield Opened(portal, store, GatewayApp(Gateway(store), authenticator))


def _is_taken(key: str) -> bool:
    try:
        check_key(key)
    except SpecError:
        return False
    return True


@st.composite
def stored(draw: st.DrawFn) -> list[FileInfo]:
    """Files of one bucket, in the order they are listed."""
    bucket = f"listing-{next(_numbers)}"
    files = []
    for number, key in enumerate(sorted(draw(st.sets(keys, min_size=1, max_size=20)), key=_utf8)):
        found, kind = draw(checksums)
        file = FileInfo(
            bucket=bucket,
            key=key,
            blob=f"{bucket}-{number}",
            size=draw(st.integers(0, 2**62 // 20)),
            etag=draw(st.from_regex("[0-9a-f]{32}(-[0-9]{1,4})?", fullmatch=True)),
            sha256="",
            content_type="a/b",
            modified_at=draw(times),
            checksums=found,
            checksum_type=kind,
        )
        files.append(file)
    return files


def _utf8(key: str) -> bytes:
    return key.encode()


def entry(file: FileInfo, *, url: bool, owner: bool) -> list[Element]:
    """What S3 tells of a file."""
    found: list[Element] = [
        ("Key", quote(file.key, safe="/-_.~") if url else file.key),
        ("LastModified", xml.iso_time(file.modified_at)),
        ("ETag", f'"{file.etag}"'),
        ("Size", file.size),
    ]
    if file.checksums:
        found += [("ChecksumAlgorithm", name.upper()) for name in file.checksums]
        found.append(("ChecksumType", file.checksum_type or "FULL_OBJECT"))
    if owner:
        found.append(("Owner", OWNER))
    found.append(("StorageClass", "STANDARD"))
    return found


@settings(deadline=None, max_examples=60)
@given(files=stored(), kind=st.sampled_from(["v1", "v2", "owner", "versions"]), url=st.booleans())
def test_listing_is_the_document_element_by_element(
    opened: Opened, files: list[FileInfo], kind: str, url: bool
) -> None:
    opened.fill(files)
    bucket = files[0].bucket
    words = {"v1": "", "v2": "list-type=2&", "owner": "list-type=2&fetch-owner=true&"}
    query = words.get(kind, "versions&") + ("encoding-type=url" if url else "")
    body = opened.get(f"/{bucket}?{query}")
    head: list[Element] = [("Name", bucket), ("Prefix", ""), ("MaxKeys", 1000)]
    head += [("EncodingType", "url")] if url else []
    if kind in ("v2", "owner"):
        head.append(("KeyCount", len(files)))
    elif kind == "v1":
        head.append(("Marker", ""))
    else:
        head += [("KeyMarker", ""), ("VersionIdMarker", "")]
    head.append(("IsTruncated", "false"))
    shown = [entry(file, url=url, owner=kind != "v2") for file in files]
    if kind == "versions":
        last: list[Element] = [("VersionId", "null"), ("IsLatest", "true")]
        content = head + [("Version", found + last) for found in shown]
        wanted = xml.document("ListVersionsResult", content)
    else:
        wanted = xml.document("ListBucketResult", head + [("Contents", found) for found in shown])
    assert body == wanted
    found = [element.text or "" for element in ElementTree.fromstring(body).iter(f"{_NAME}Key")]
    spelled = [unquote(key, errors="strict") for key in found] if url else found
    assert spelled == [file.key for file in files]
