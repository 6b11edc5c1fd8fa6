"""A file of a data object as an answer."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cnet.api.errors import json_response
from cnet.api.ranges import Span, UnsatisfiableError, http_date, judge, span_of
from cnet.storage.base import FileInfo
from cnet.storage.store import NodeStore

SAFE: Mapping[str, str] = {
    # A page among the data must not get to speak to the agent in its reader's name.
    "content-security-policy": "sandbox; default-src 'none'",
    "content-disposition": "attachment",
    "x-content-type-options": "nosniff",
}


def answer(
    store: NodeStore, file: FileInfo, headers: Mapping[str, str], *, method: str
) -> Response:
    """200, 206, 304, 412 or 416."""
    described = {
        "etag": f'"{file.etag}"',
        "last-modified": http_date(file.modified_at),
        "accept-ranges": "bytes",
        "repr-digest": f"sha-256=:{base64.b64encode(bytes.fromhex(file.sha256)).decode()}:",
        **SAFE,
    }
    verdict = judge(headers, file.etag, file.modified_at)
    if verdict == HTTPStatus.NOT_MODIFIED:
        return Response(status_code=verdict, headers=described)
    if verdict is not None:
        body = {"error": "precondition_failed", "details": "If-Match: the file is another one"}
        return json_response(body, status=verdict, headers=described)
    try:
        span = span_of(headers, file.size, file.etag, file.modified_at)
    except UnsatisfiableError:
        body = {"error": "range_not_satisfiable", "details": f"Range: it has {file.size} bytes"}
        described["content-range"] = f"bytes */{file.size}"
        return json_response(
            body, status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=described
        )
    described["content-type"] = file.content_type
    return _Content(store, file, span, described, bodyless=method == "HEAD")


class Holding(Response):
    """Another answer; `release` is called when it is over, come what may."""

    def __init__(self, inner: Response, release: Callable[[], None]) -> None:
        super().__init__()
        self._inner = inner
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the inner one."""
        try:
            await self._inner(scope, receive, send)
        finally:
            self._release()


class _Content(Response):
    def __init__(
        self,
        store: NodeStore,
        file: FileInfo,
        span: Span,
        headers: dict[str, str],
        *,
        bodyless: bool,
    ) -> None:
        headers["content-length"] = str(span.length)
        if span.partial:
            last = span.start + span.length - 1
            headers["content-range"] = f"bytes {span.start}-{last}/{file.size}"
        status = HTTPStatus.PARTIAL_CONTENT if span.partial else HTTPStatus.OK
        super().__init__(status_code=status, headers=headers)
        self._store = store
        self._file = file
        self._span = span
        self._bodyless = bodyless

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream exactly that version, a piece at a time."""
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        if not self._bodyless and self._span.length:
            async with self._store.open(self._file, self._span.start, self._span.length) as body:
                await send(start)
                async for chunk in body:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        else:
            await send(start)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
