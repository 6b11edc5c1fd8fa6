"""The agent's ASGI application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

import cnet
from cnet.api import errors
from cnet.api.context import ApiContext
from cnet.api.document import DocumentedApp
from cnet.api.guard import Guard
from cnet.api.leaving import LastWord
from cnet.api.routes import (
    access_keys,
    data,
    events,
    execs,
    metrics,
    ml,
    node,
    plan,
    register,
    services,
    workloads,
)
from cnet.api.services.routes import ServiceRoutes
from cnet.cluster.sockets import LINK_PATH

DESCRIPTION = """\
Run workloads on this node and on those it is linked to. Errors are
`{"error": <stable word>, "details": <sentence>}`.

Beyond loopback every request but `/api/health` carries `Authorization: Bearer <token>`.
"""


@dataclass(frozen=True, slots=True)
class Applications:
    """The same routes for two kinds of callers."""

    guarded: ASGIApp
    """for whoever connects"""
    inner: ASGIApp
    """for requests that come over links, which are authenticated themselves"""
    services: ServiceRoutes
    """the way of both to services"""


def create_app(
    context: ApiContext,
    *,
    token: str | None,
    max_body_bytes: int,
    pages: Callable[[ASGIApp], ASGIApp] | None = None,
) -> Applications:
    """The routes behind the guard; `token` None means loopback rules (docs/adr/0005).

    `pages` puts the web page in front of the routes, for those who connect; links see no pages.
    """
    app = DocumentedApp(
        title="CNET agent",
        version=cnet.__version__,
        description=DESCRIPTION,
        docs_url=None,  # the web page has one that loads nothing from elsewhere
        redoc_url=None,
    )
    app.state.context = context
    modules = (workloads, services, execs, ml, data, access_keys, plan, node, register, events)
    for module in (*modules, metrics):
        app.include_router(module.router)
    errors.install(app)
    inner = ServiceRoutes(
        app,
        directory=context.directory,
        carrier=context.links,
        counting=context.counting,
        wake=context.services.wake,
    )

    shown = inner if pages is None else pages(inner)

    async def entrance(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["path"] == LINK_PATH:
            await context.links.accept(scope, receive, send)
        else:
            await shown(scope, receive, send)

    guard = Guard(
        entrance,
        token=token,
        max_body_bytes=max_body_bytes,
        max_data_bytes=None if context.data is None else context.data.max_object_bytes,
    )
    return Applications(LastWord(guard), inner, inner)
