"""One GET or HEAD to another agent, over the links."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import anyio
import orjson
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message

from cnet.errors import UnreachableError

SILENCE_S = 30.0
"""Without a byte of an answer it is given up."""
MAX_ANSWER_BYTES = 16 * 1024**2
"""Of an answer that is kept whole."""

_WANTED = {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}

Write = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class Answer:
    """What came back; the body only where nobody took it as it came."""

    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    def json(self) -> Any:
        """Raises UnreachableError for what is none: an agent answers in JSON."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise UnreachableError("an answer of another agent is not JSON") from None


async def ask(
    app: ASGIApp,
    path: str,
    *,
    method: str = "GET",
    query: str = "",
    headers: Mapping[str, str] | None = None,
    write: Write | None = None,
    silence_s: float = SILENCE_S,
) -> Answer:
    """`write` gets the body of a 200 or 206, piece by piece, and may raise.

    Raises UnreachableError.
    """
    answer = Answer()
    with anyio.move_on_after(silence_s) as silence:

        async def send(message: Message) -> None:
            silence.deadline = anyio.current_time() + silence_s
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = Headers(raw=list(message["headers"]))
                return
            body: bytes = message.get("body", b"")
            if write is not None and answer.status in _WANTED:
                await write(body)
            else:
                answer.body += body
                if len(answer.body) > MAX_ANSWER_BYTES:
                    raise UnreachableError("another agent answers with more than was asked for")

        await app(_scope(method, path, query, headers or {}), _Request().receive, send)
        return answer
    raise UnreachableError(f"another agent said nothing for {silence_s:g} s")


class _Request:
    """An empty body, and a client that stays."""

    def __init__(self) -> None:
        self._sent = False

    async def receive(self) -> Message:
        if self._sent:
            await anyio.sleep_forever()
        self._sent = True
        return {"type": "http.request", "body": b"", "more_body": False}


def _scope(method: str, path: str, query: str, headers: Mapping[str, str]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": quote(path, safe="/").encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": None,
        "server": None,
        "state": {},
        "extensions": {},
    }
