"""The last word to those who still wait for an answer when the agent goes."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cnet.api.errors import error_response
from cnet.errors import TransientError


class LastWord:
    """ASGI middleware: a request whose task is cancelled unanswered is told to ask again.

    Only the server cancels such tasks: those that are left when their time to finish is over.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or 503 when there is no more time to."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except asyncio.CancelledError:
            if begun:
                raise
            error = TransientError(
                "the agent is being stopped; what was asked may have been done, or be done by the "
                "next agent of this node"
            )
            await error_response(error)(scope, receive, send)
