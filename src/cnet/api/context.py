"""What the routes work with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import anyio
from fastapi import Depends, Request

from cnet.api.ml.serving import ModelServing
from cnet.api.services.counting import Counting
from cnet.api.services.replicas import Directory
from cnet.cluster.exchange import Exchange
from cnet.cluster.links import Links
from cnet.errors import ConflictError
from cnet.executors.remote import RemoteData
from cnet.manager import Manager
from cnet.services import Services
from cnet.services.load import Measure
from cnet.storage.objects import DataObjects

SEARCH_HEADER: Final = "x-cnet-data-search"
"""An agent that has not heard of a key asks all nodes it knows, unless this says `none`."""
SEARCH_NONE: Final = "none"


@dataclass(slots=True, kw_only=True)
class DataService:
    """What this node stores, as the routes see it."""

    objects: DataObjects
    max_object_bytes: int
    max_files: int
    remote: RemoteData
    keys_file: Path
    """access keys of gateways; it need not exist"""
    in_use: set[str] = field(default_factory=set)
    """keys of exclusive objects that a request reads or writes now"""


@dataclass(slots=True, kw_only=True)
class ApiContext:
    """One agent as its HTTP edge sees it."""

    manager: Manager
    exchange: Exchange
    links: Links
    services: Services
    directory: Directory
    counting: Counting
    """what was done for services"""
    measure: Measure
    """the same, of replicas on other nodes as well"""
    started_at: float
    models: ModelServing
    data: DataService | None = None
    """None where the agent stores nothing"""
    base_url: str = ""
    """where this agent answers, for endpoints that lead by way of it"""
    allow_exec: bool = True
    """whether commands may be run inside this node's workloads"""
    closing: anyio.Event = field(default_factory=anyio.Event)
    """Set when the agent goes: streams end by themselves."""

    @property
    def the_data(self) -> DataService:
        """Raises ConflictError where the agent stores nothing."""
        if self.data is None:
            raise ConflictError("this agent stores no data")
        return self.data


async def _context(request: Request) -> ApiContext:  # a plain function would cost a thread
    context: ApiContext = request.app.state.context
    return context


Context = Annotated[ApiContext, Depends(_context)]
