"""Answers that another agent gives."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

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
