"""Answers that another agent gives."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cnet.api.errors import error_response
from cnet.errors import UnreachableError


class Relayed(Response):
    """The same request, carried to the application of another node; streams both ways."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand it over; 503 when the way breaks before an answer has begun."""
        begun = False

        async def note(message: object) -> None:
            nonlocal begun
            begun = True
            await send(message)  # type: ignore[arg-type]

        try:
            await self._app(scope, receive, note)
        except UnreachableError as error:
            if begun:
                raise
            await error_response(error)(scope, receive, send)


async def answer_of(app: ASGIApp, request: Request) -> Response | None:
    """The answer of another node, which must be a small one; None when the way there is broken.

    The way may be broken further on: then an agent in between says so.
    """
    answer = Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)
    parts: list[bytes] = []

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status_code = message["status"]
            answer.raw_headers = list(message["headers"])
        else:
            parts.append(message.get("body", b""))

    try:
        await app(request.scope, request.receive, keep)
    except UnreachableError:
        return None
    answer.body = b"".join(parts)
    cut_off = b'"node_unreachable"' in answer.body
    if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE and cut_off:
        return None
    return answer
