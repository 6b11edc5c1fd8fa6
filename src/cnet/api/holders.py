"""Which agent knows a workload that this one does not: those it can reach are asked."""

from __future__ import annotations

from http import HTTPStatus

import anyio
import orjson
from starlette.types import ASGIApp, Message, Scope

from cnet.api.context import ApiContext
from cnet.errors import NotFoundError, UnreachableError

PATIENCE_S = 5.0
"""Of a question that any agent answers from memory."""
AT_ONCE = 32


async def node_of(context: ApiContext, workload_id: str) -> str:
    """Where to ask about it: the node it runs on, or an agent that knows of it.

    Raises NotFoundError when nobody who can be reached does.
    """
    manager = context.manager
    try:
        return manager.get(workload_id).status.host or manager.node_id
    except NotFoundError:
        found = await _first_of(context, workload_id)
        if found is None:
            raise
        return found


async def _first_of(context: ApiContext, workload_id: str) -> str | None:
    found: list[str] = []
    limiter = anyio.CapacityLimiter(AT_ONCE)
    own = context.manager.node_id
    async with anyio.create_task_group() as group:

        async def look(node_id: str) -> None:
            async with limiter:
                host = await _host_as_told_by(context, node_id, workload_id)
                if host is not None:
                    # Straight there: the way by whoever knows may lead back here.
                    near = context.exchange.next_hop(host) is not None
                    found.append(host if near else node_id)
                    group.cancel_scope.cancel()

        for node in context.exchange.view.nodes():
            if node.node_id != own and node.reachable:
                group.start_soon(look, node.node_id)
    return found[0] if found else None


async def _host_as_told_by(context: ApiContext, node_id: str, workload_id: str) -> str | None:
    path = f"/api/workloads/{workload_id}"
    try:
        with anyio.move_on_after(PATIENCE_S):
            status, body = await _asked(context.links.app_for(node_id), path)
            if status == HTTPStatus.OK:
                host: str | None = orjson.loads(body).get("node_id")
                return host or node_id
    except (UnreachableError, orjson.JSONDecodeError):
        return None
    return None


async def _asked(app: ASGIApp, path: str) -> tuple[int, bytes]:
    status, body = 0, b""
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": None,
        "server": None,
        "state": {},
        "extensions": {},
    }
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await anyio.sleep_forever()
        sent = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, body
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            body += message.get("body", b"")

    await app(scope, receive, send)
    return status, body
