"""What the routes work with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import anyio
from fastapi import Depends, Request

from cnet.cluster.exchange import Exchange
from cnet.cluster.links import Links
from cnet.manager import Manager


@dataclass(slots=True, kw_only=True)
class ApiContext:
    """One agent as its HTTP edge sees it."""

    manager: Manager
    exchange: Exchange
    links: Links
    started_at: float
    base_url: str = ""
    """where this agent answers, for endpoints that lead by way of it"""
    closing: anyio.Event = field(default_factory=anyio.Event)
    """Set when the agent goes: streams end by themselves."""


async def _context(request: Request) -> ApiContext:  # a plain function would cost a thread
    context: ApiContext = request.app.state.context
    return context


Context = Annotated[ApiContext, Depends(_context)]
