"""`/topology`: every node this agent knows, as a graph and as a table."""

from __future__ import annotations

import gzip
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from cnet.web.nodes import ShownNode, shown_nodes
from cnet.web.rendering import page
from cnet.web.state import Web

router = APIRouter(prefix="/topology")

PAGE = 100


@router.get("")
async def topology(
    request: Request,
    web: Web,
    q: Annotated[str, Query(max_length=253)] = "",
    status: Annotated[str, Query(max_length=16)] = "",
    number: Annotated[int, Query(alias="page", ge=1, le=100_000)] = 1,
) -> Response:
    """The table has a page of nodes, the graph all of them."""
    everything = shown_nodes(web.context)
    wanted = q.strip().casefold()
    found = [
        node
        for node in everything
        if (not wanted or _has(node, wanted)) and (not status or node.known.status == status)
    ]
    pages = max(1, -(-len(found) // PAGE))
    number = min(number, pages)
    values = {
        "q": q,
        "status": status,
        "nodes": found[(number - 1) * PAGE : number * PAGE],
        "total": len(found),
        "known": len(everything),
        "number": number,
        "pages": pages,
        "unreachable": sum(1 for node in everything if not node.known.reachable),
    }
    return page(request, "topology/page.html", values)


def _has(node: ShownNode, text: str) -> bool:
    labels = (f"{key}={value}" for key, value in node.known.state.labels.items())
    return any(text in word.casefold() for word in (node.node_id, *labels))


@router.get("/graph.json")
async def graph(request: Request, web: Web) -> Response:
    """Nodes and links as the graph draws them."""
    nodes = shown_nodes(web.context)
    body = orjson.dumps([_drawn(node) for node in nodes])
    headers = {"cache-control": "no-store", "vary": "accept-encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, compresslevel=1, mtime=0)
        headers["content-encoding"] = "gzip"
    return Response(body, headers=headers, media_type="application/json")


def _drawn(node: ShownNode) -> dict[str, Any]:
    state = node.known.state
    return {
        "id": node.node_id,
        "parent": state.parent_id,
        "peers": list(state.peers),
        "status": node.known.status,
        "self": node.relation == "self",
        "load": round(node.load),
        "workloads": state.workloads,
    }
