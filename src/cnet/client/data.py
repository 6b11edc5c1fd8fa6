"""What `/api/data` offers, and uploads in a form; contents are streamed, never held."""

from __future__ import annotations

import base64
import builtins
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from cnet.client.replies import field_of, foreign, json_object
from cnet.client.transport import Transport
from cnet.errors import BadGatewayError, SpecError

JsonObject = dict[str, Any]

CHUNK = 256 * 1024
PATIENCE_S = 300.0
"""Between two pieces of a content, and until what was sent is durable."""
_PAGE = 500
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MD5 = re.compile(r"[0-9a-f]{32}(-\d{1,5})?")  # with a dash of a file that came in parts
_KEYS = "/api/access-keys"
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")


@dataclass(frozen=True, slots=True)
class Source:
    """A local file, and its path in the object."""

    path: str
    file: Path


@dataclass(frozen=True, slots=True)
class Content:
    """A file that is being read, in one version."""

    start: int
    """where the pieces begin"""
    size: int | None
    """of the whole file, where it is told"""
    etag: str
    sha256: str | None
    """of the whole file, where it is told"""
    pieces: Iterator[bytes]


class DataClient:
    """Errors are those of `AgentClient`."""

    def __init__(self, http: Transport) -> None:
        self._http = http

    def list(self) -> Iterator[JsonObject]:
        """Objects on the agent's own node, by key."""
        for page in self._pages("/api/data"):
            yield from field_of(page, "data", list)

    def list_tree(self) -> tuple[builtins.list[JsonObject], set[str]]:
        """Objects on all nodes that the agent knows, by key; and the nodes that did not answer."""
        found: builtins.list[JsonObject] = []
        silent: set[str] = set()
        for page in self._pages("/api/data", scope="tree"):
            found += field_of(page, "data", list)
            silent.update(field_of(page, "unreachable", list))
        return found, silent

    def get(self, data_key: str) -> JsonObject:
        """An object, with the first page of its `file_list`. Raises NotFoundError."""
        return json_object(self._http.request("GET", _path(data_key)))

    def files(self, data_key: str) -> Iterator[JsonObject]:
        """All files of an object, by path."""
        for page in self._pages(_path(data_key)):
            for file in field_of(page, "file_list", list):
                yield _checked(file)

    def delete(self, data_key: str) -> JsonObject:
        """Delete the data; the workload's record stays: `{message}`."""
        return json_object(self._http.request("DELETE", _path(data_key), timeout_s=PATIENCE_S))

    def delete_file(self, data_key: str, path: str) -> JsonObject:
        """Delete one file of an object that is not readonly."""
        return json_object(self._http.request("DELETE", _path(data_key, path)))

    @contextmanager
    def open(
        self, data_key: str, path: str, *, start: int = 0, etag: str | None = None
    ) -> Iterator[Content]:
        """The bytes of a file from `start` on if it still has that `etag`, else all of it."""
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            headers["If-Range"] = f'"{etag}"'
        with self._http.stream(
            _path(data_key, path), read_timeout_s=PATIENCE_S, headers=headers
        ) as reply:
            yield _content_of(reply)

    def write(self, data_key: str, path: str, content: Iterable[bytes]) -> JsonObject:
        """Store or replace a file of an object that is not readonly."""
        reply = self._http.request(
            "PUT",
            _path(data_key, path),
            content=content,
            timeout_s=PATIENCE_S,
        )
        return json_object(reply)

    def upload(
        self,
        sources: Iterable[Source],
        *,
        tree: bool,
        name: str,
        config: Mapping[str, Any],
        sent: Callable[[int], None] = lambda size: None,
    ) -> JsonObject:
        """Store local files as one object: `{workload, data_key, size, status, path}`.

        `sent` is told the size of every piece that has left.
        """
        boundary = secrets.token_hex(16)
        fields = {"type": "data", "name": name, "config": json.dumps(dict(config))}
        reply = self._http.request(
            "POST",
            "/api/workloads",
            content=_form(boundary, fields, sources, "files" if tree else "file", sent),
            headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
            timeout_s=PATIENCE_S,
        )
        return json_object(reply)

    def access_keys(self) -> Sequence[JsonObject]:
        """Of the gateways of the agent's node, without secrets."""
        found: Sequence[JsonObject] = field_of(
            json_object(self._http.request("GET", _KEYS)), "access_keys", list
        )
        return found

    def create_access_key(self, *, buckets: Sequence[str] | None, read_only: bool) -> JsonObject:
        """A new one, with its `secret_access_key`."""
        wanted = {"buckets": None if buckets is None else list(buckets), "read_only": read_only}
        return json_object(self._http.request("POST", _KEYS, json=wanted))

    def revoke_access_key(self, key_id: str) -> JsonObject:
        """Raises NotFoundError."""
        return json_object(self._http.request("DELETE", f"{_KEYS}/{quote(key_id, safe='')}"))

    def _pages(self, path: str, **params: str) -> Iterator[JsonObject]:
        params["limit"] = str(_PAGE)
        while True:
            page = json_object(self._http.request("GET", path, params=params))
            yield page
            cursor = page.get("next_cursor")
            if not cursor:
                return
            params["cursor"] = str(cursor)


def _checked(file: object) -> JsonObject:
    """One of a `file_list`; CnetError where it is not what an agent says of a file."""
    if not isinstance(file, dict):
        raise foreign("file_list holds something that is no object")
    field_of(file, "path", str)
    if field_of(file, "size", int) < 0:
        raise foreign(f"the size of {file['path']!r} is negative")
    if not _SHA256.fullmatch(field_of(file, "sha256", str)):
        raise foreign(f"the sha256 of {file['path']!r} is none")
    if not _MD5.fullmatch(field_of(file, "hash", str)):
        raise foreign(f"the hash of {file['path']!r} is none")
    return file


def _content_of(reply: httpx.Response) -> Content:
    start, size = 0, reply.headers.get("content-length", "")
    if reply.status_code == httpx.codes.PARTIAL_CONTENT:
        found = _CONTENT_RANGE.fullmatch(reply.headers.get("content-range", ""))
        if found is None:
            raise BadGatewayError(f"{reply.url}: an answer 206 without a Content-Range")
        start, size = int(found[1]), found[2]
    digest = _DIGEST.search(reply.headers.get("repr-digest", ""))
    return Content(
        start=start,
        size=int(size) if size.isdigit() else None,
        etag=reply.headers.get("etag", "").strip('"'),
        sha256=None if digest is None else base64.b64decode(digest[1]).hex(),
        pieces=reply.iter_raw(),  # as they come: a piece that is waited for is lost when it breaks
    )


def chunks(file: Path, sent: Callable[[int], None] = lambda size: None) -> Iterator[bytes]:
    """The content of a local file. Raises SpecError where it cannot be read."""
    try:
        with file.open("rb") as opened:
            while chunk := opened.read(CHUNK):
                yield chunk
                sent(len(chunk))
    except OSError as error:
        raise SpecError(f"{file}: {error.strerror}") from error


def _form(
    boundary: str,
    fields: Mapping[str, str],
    sources: Iterable[Source],
    part: str,
    sent: Callable[[int], None],
) -> Iterator[bytes]:
    for name, value in fields.items():
        yield _head(boundary, f'name="{name}"') + value.encode() + b"\r\n"
    for source in sources:
        if any(char in source.path for char in "\r\n\0"):
            raise SpecError(f"{source.path!r}: line ends are not taken in names", field="PATH")
        filename = source.path.replace("\\", "\\\\").replace('"', '\\"')
        yield _head(boundary, f'name="{part}"; filename="{filename}"')
        yield from chunks(source.file, sent)
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _head(boundary: str, disposition: str) -> bytes:
    try:
        return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()
    except UnicodeEncodeError:
        raise SpecError(f"{disposition!r}: the name is not UTF-8", field="PATH") from None


def _path(data_key: str, path: str | None = None) -> str:
    base = f"/api/data/{quote(data_key, safe='')}"
    return base if path is None else f"{base}/{quote(path)}"
