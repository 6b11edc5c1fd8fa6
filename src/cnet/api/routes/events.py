"""`/api/events`: what happens, as it happens (server-sent events, WHATWG HTML 9.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
import orjson
from fastapi import APIRouter, Header, Query
from starlette.responses import StreamingResponse

from cnet.api import render
from cnet.api.context import ApiContext, Context
from cnet.api.document import errors

router = APIRouter(prefix="/api", tags=["events"])

PING_S = 15.0
"""A comment line this often keeps proxies from closing a quiet stream."""
PING = b": ping\n\n"


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **errors(422),
    },
)
async def events(
    context: Context,
    workload: Annotated[str | None, Query(description="only of this workload")] = None,
    after: Annotated[
        int | None, Query(ge=0, le=2**62, description="events above this number")
    ] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Status changes of workloads (`event: workload`) and of the room (`event: resources`).

    `Last-Event-ID`, which browsers send by themselves, goes on where a stream broke off.
    """
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
        after = min(int(last_event_id), 2**62)
    return StreamingResponse(
        _stream(context, workload, after),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _stream(
    context: ApiContext, workload_id: str | None, after: int | None
) -> AsyncIterator[bytes]:
    bus = context.manager.events
    seen = bus.last_seq if after is None else after
    room = b""
    lines = b"retry: 1000\n\n"
    sent_at = anyio.current_time()
    while True:
        now = orjson.dumps(render.totals(context.manager))
        if workload_id is None and now != room:
            room = now
            lines += b"event: resources\ndata: %s\n\n" % now
        if not lines and anyio.current_time() - sent_at >= PING_S:
            lines = PING  # others are busy, this one is quiet
        if lines:
            yield lines
            sent_at = anyio.current_time()
        if context.closing.is_set():
            return
        lines = PING
        with anyio.move_on_after(PING_S):
            batch = await bus.after(seen, until=context.closing)
            if batch:
                seen = batch[-1].seq
            lines = b"".join(
                b"id: %d\nevent: workload\ndata: %s\n\n"
                % (item.seq, orjson.dumps(render.event(item)))
                for item in batch
                if workload_id is None or item.workload_id == workload_id
            )
