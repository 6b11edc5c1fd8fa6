"""The agent's own API, asked from inside: changes made by hand take the way of all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from starlette.requests import Request
from starlette.types import ASGIApp, Message

from cnet.errors import UnreachableError


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API says."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether it is what was asked for."""
        return self.status < 400

    @property
    def json(self) -> Any:
        """The body; an empty one is `{}`."""
        return orjson.loads(self.body or b"{}")

    @property
    def details(self) -> str:
        """The sentence of an error."""
        return str(self.json.get("details", self.status))

    @property
    def field(self) -> str | None:
        """The field that an error is about, where it is about one."""
        found = self.json.get("field")
        return None if found is None else str(found)


def path_of(*segments: str) -> str:
    """A path of the API: `path_of("workloads", id, "stop")`."""
    return "/api/" + "/".join(quote(segment, safe="") for segment in segments)


class Api:
    """Asks the application behind the guard."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def ask(
        self,
        request: Request,
        method: str,
        path: str,
        *,
        json: Any = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """One small question on behalf of `request`, which tells the address that was asked.

        Its own body must have been read: what comes after that is that the reader has gone.
        """
        body = b"" if json is None else orjson.dumps(json)
        host = request.headers.get("host", "localhost").encode("latin-1")
        headers = [(b"host", host), (b"accept", b"application/json")]
        if json is not None:
            headers += [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ]
        scope = {
            **{key: request.scope[key] for key in ("type", "asgi", "http_version", "scheme")},
            **{key: request.scope.get(key) for key in ("server", "client", "root_path")},
            "method": method,
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": urlencode(query or {}).encode(),
            "headers": headers,
            "extensions": {},
            "state": {},
        }
        given = False
        status = 503
        parts: list[bytes] = []

        async def receive() -> Message:
            nonlocal given
            if given:
                return await request.receive()  # the reader has gone: so has the question
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                parts.append(message.get("body", b""))

        try:
            await self.app(scope, receive, send)
        except UnreachableError as error:
            return Answer(503, orjson.dumps({"error": error.code, "details": error.message}))
        return Answer(status, b"".join(parts))
