"""A request as it came over the wire, decoded once for the signature and for its meaning alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from cnet.gateway.errors import S3Error

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = Mapping[str, Any]

MOUNT = b"/s3"
"""The second place where everything stands; two letters are no bucket's name."""


class WireRequest:
    """Method, path, query and headers; bytes where a signature covers them.

    `headers` has each name once, in lower case; the values of a repeated one joined by commas.
    `query` has the pairs in their order, percent-decoded.
    """

    __slots__ = ("_parameters", "headers", "method", "query", "raw_path", "raw_query")

    def __init__(
        self,
        method: str,
        raw_path: bytes,
        raw_query: bytes,
        headers: Iterable[tuple[bytes, bytes]],
    ) -> None:
        self.method = method
        self.raw_path = raw_path
        self.raw_query = raw_query
        self.headers: dict[bytes, bytes] = {}
        for name, value in headers:
            known = self.headers.get(name)
            self.headers[name] = value if known is None else known + b"," + value
        self.query = _pairs(raw_query) if raw_query else []
        self._parameters: dict[str, str] | None = None

    @classmethod
    def of(cls, scope: Scope) -> WireRequest:
        """From what the HTTP server handed over."""
        return cls(scope["method"], scope["raw_path"], scope["query_string"], scope["headers"])

    @property
    def parameters(self) -> dict[str, str]:
        """The query as text; of a name that is given twice the first value counts."""
        if self._parameters is None:
            self._parameters = {}
            for name, value in self.query:
                self._parameters.setdefault(_text(name), _text(value))
        return self._parameters

    def header(self, name: bytes) -> str | None:
        """A header as text: UTF-8 where it is that, else Latin-1."""
        value = self.headers.get(name)
        if value is None:
            return None
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.decode("latin-1")


def split_path(raw_path: bytes) -> tuple[str | None, str | None]:
    """(bucket, key) of `/bucket/key` or `/s3/bucket/key`; None for what is not there."""
    path = raw_path[len(MOUNT) :] if raw_path == MOUNT or raw_path.startswith(b"/s3/") else raw_path
    bucket, _, key = path[1:].partition(b"/")
    if not bucket:
        if key:
            raise S3Error("InvalidURI", "The path must be /bucket/key; its bucket is empty.")
        return None, None
    return _text(unquote_to_bytes(bucket)), _text(unquote_to_bytes(key)) if key else None


def _pairs(raw_query: bytes) -> list[tuple[bytes, bytes]]:
    pairs = []
    for item in raw_query.split(b"&"):
        if not item:
            continue
        name, _, value = item.replace(b"+", b" ").partition(b"=")
        pairs.append((unquote_to_bytes(name), unquote_to_bytes(value)))
    return pairs


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", "Path and query must be UTF-8, percent-encoded.") from None
