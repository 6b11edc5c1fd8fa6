"""What the routes work with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import anyio
from fastapi import Depends, Request

from cnet.manager import Manager


@dataclass(slots=True, kw_only=True)
class ApiContext:
    """One agent as its HTTP edge sees it."""

    manager: Manager
    labels: dict[str, str]
    started_at: float
    closing: anyio.Event = field(default_factory=anyio.Event)
    """Set when the agent goes: streams end by themselves."""


async def _context(request: Request) -> ApiContext:  # a plain function would cost a thread
    context: ApiContext = request.app.state.context
    return context


Context = Annotated[ApiContext, Depends(_context)]
