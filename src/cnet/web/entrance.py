"""In front of the API: what is a page goes to the pages, everything else to the API.

Pages, templates and their libraries are loaded when the first page is asked for: an agent that
nobody looks at pays nothing for them.
"""

from __future__ import annotations

import anyio
import anyio.to_thread
from starlette.types import ASGIApp, Receive, Scope, Send

from cnet.api.context import ApiContext
from cnet.web.addresses import SERVICES

SEGMENTS = frozenset(
    {
        *("", "topology", "nodes", "workloads", "submit", "service", "models", "data", "events"),
        *("docs", "login", "logout", "preferences", "live", "static", "favicon.ico"),
    }
)
"""First segments of the paths of pages."""


class Pages:
    """ASGI application: the pages over `api`; `token` None means that nobody has to log in."""

    def __init__(self, context: ApiContext, api: ASGIApp, *, token: str | None) -> None:
        self._context = context
        self._api = api
        self._token = token
        self._built: ASGIApp | None = None
        self._building = anyio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A page, or what the API answers."""
        if scope["type"] != "http" or not _is_page(scope["path"]):
            await self._api(scope, receive, send)
            return
        if self._built is None:
            async with self._building:
                if self._built is None:
                    self._built = await anyio.to_thread.run_sync(self._build)
        await self._built(scope, receive, send)

    def _build(self) -> ASGIApp:
        from cnet.web.app import create_pages

        return create_pages(self._context, self._api, token=self._token)


def _is_page(path: str) -> bool:
    return path == SERVICES or (path.startswith("/") and path.split("/")[1] in SEGMENTS)
