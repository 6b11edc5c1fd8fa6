"""`/live`: one stream per page that says what has changed; the page asks anew for those parts.

Changes are looked at ten times a second and told together, so a burst of a thousand is one message.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
import orjson
from fastapi import APIRouter
from starlette.responses import StreamingResponse

from cnet.api.context import ApiContext
from cnet.web.state import Web, mark_of
from cnet.web.static_files import version

router = APIRouter()

PACE_S = 0.1
BEAT_S = 10.0
"""A word at least this often: a page that hears nothing looks for another way."""
MAX_NAMED = 200
"""Workloads named in one message; when there are more, every page of a workload looks."""


@dataclass(slots=True)
class _Seen:
    events: int
    nodes: int
    room: object
    services: object


@router.get("/live")
async def live(web: Web) -> StreamingResponse:
    """Topics that changed: `workloads`, `workload:<id>`, `services`, `nodes`, `room`."""
    return StreamingResponse(
        _stream(web.context),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _stream(context: ApiContext) -> AsyncIterator[bytes]:
    seen = _Seen(context.manager.events.last_seq, -1, None, None)
    await _changes(context, seen)
    hello = {"version": version(), "mark": mark_of(context)}
    yield b"retry: 1000\n\n" + _message("hello", hello)
    quiet_s = 0.0
    while not context.closing.is_set():
        await anyio.sleep(PACE_S)
        quiet_s += PACE_S
        topics = await _changes(context, seen)
        if topics:
            yield _message("changed", {"topics": topics})
            quiet_s = 0.0
        elif quiet_s >= BEAT_S:
            yield _message("beat", {})
            quiet_s = 0.0


async def _changes(context: ApiContext, seen: _Seen) -> list[str]:
    """Topics with something new since the last look, which `seen` remembers."""
    topics: list[str] = []
    bus, view = context.manager.events, context.exchange.view
    if seen.events != bus.last_seq:
        touched: set[str] = set()
        while seen.events < bus.last_seq:
            batch = await bus.after(seen.events, until=context.closing)
            if not batch:
                break
            seen.events = batch[-1].seq
            touched.update(item.workload_id for item in batch if item.workload_id is not None)
        topics.append("workloads")
        named = sorted(touched) if len(touched) <= MAX_NAMED else ["*"]
        topics += [f"workload:{workload_id}" for workload_id in named]
    if seen.nodes != view.revision:
        seen.nodes = view.revision
        topics.append("nodes")
    room = (context.manager.ledger.capacity, context.manager.ledger.allocated)
    if seen.room != room:
        seen.room = room
        topics.append("room")
    services = _services(context)
    if seen.services != services:
        seen.services = services
        topics.append("services")
    return topics


def _services(context: ApiContext) -> object:
    """How those that this agent owns stand; of others nodes tell."""
    return [
        (each.record, each.standing, each.replicas, frozenset(each.memory.draining))
        for each in context.services.all()
    ]


def _message(event: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event.encode(), orjson.dumps(data))
