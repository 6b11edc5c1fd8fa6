"""The agent's ASGI application."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp

import cnet
from cnet.api import errors
from cnet.api.context import ApiContext
from cnet.api.guard import Guard
from cnet.api.routes import events, node, workloads

DESCRIPTION = """\
Run workloads on this node. Errors are `{"error": <stable word>, "details": <sentence>}`.

Beyond loopback every request but `/api/health` carries `Authorization: Bearer <token>`.
"""


def create_app(context: ApiContext, *, token: str | None, max_body_bytes: int) -> ASGIApp:
    """The routes behind the guard; `token` None means loopback rules (docs/adr/0005)."""
    app = FastAPI(
        title="CNET agent", version=cnet.__version__, description=DESCRIPTION, redoc_url=None
    )
    app.state.context = context
    for module in (workloads, node, events):
        app.include_router(module.router)
    errors.install(app)
    return Guard(app, token=token, max_body_bytes=max_body_bytes)
