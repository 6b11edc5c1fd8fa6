"""How long a question takes to another agent and back."""

from __future__ import annotations

import time
from http import HTTPStatus

import anyio
from starlette.types import Message

from cnet.cluster.links import Links
from cnet.errors import UnreachableError

PATIENCE_S = 2.0
HEALTH = "/api/health"


async def round_trip_ms(links: Links, node_id: str) -> float | None:
    """Milliseconds of a request over links to an agent; None when no good answer comes in time."""
    status = 0
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            await anyio.sleep_forever()
        given = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {
        "type": "http",
        "method": "GET",
        "path": HEALTH,
        "raw_path": HEALTH.encode(),
        "query_string": b"",
        "headers": [],
    }
    begun = time.perf_counter()
    with anyio.move_on_after(PATIENCE_S):
        try:
            await links.app_for(node_id)(scope, receive, send)
        except UnreachableError:
            return None
        if status == HTTPStatus.OK:
            return round((time.perf_counter() - begun) * 1000, 2)
    return None
