"""`/api/resources`, `/api/nodes`, `/api/health`: this node and its room."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

import cnet
from cnet._support import clock
from cnet.api import render, schemas
from cnet.api.context import ApiContext, Context
from cnet.api.errors import json_response
from cnet.model.lifecycle import WIRE_STATUSES

router = APIRouter(prefix="/api", tags=["node"])


def _local(context: ApiContext) -> dict[str, Any]:
    return render.node(context.manager, updated_at=clock.now(), metadata={})


@router.get("/resources", responses={200: {"model": schemas.ResourcesAnswer}, **schemas.errors()})
async def resources(context: Context) -> Response:
    """Capacity, allocated and available of this node."""
    return json_response({"resources": _local(context)})


@router.get("/resources/stats", responses={200: {"model": schemas.StatsBody}, **schemas.errors()})
async def stats(context: Context) -> Response:
    """Room of this node and workloads by status."""
    counts = context.manager.counts()
    return json_response(
        {
            "local_resources": render.totals(context.manager),
            "child_nodes_count": 0,
            "peer_nodes_count": 0,
            "workloads_count": sum(counts.values()),
            "workloads_by_status": {status: counts.get(status, 0) for status in WIRE_STATUSES},
        }
    )


@router.get("/nodes", responses={200: {"model": schemas.NodesBody}, **schemas.errors()})
async def nodes(context: Context) -> Response:
    """Every node known here: this one."""
    here = {**_local(context), "parent_id": None, "depth": 0, "labels": context.manager.own_node.labels}
    return json_response(
        {
            "node_id": context.manager.node_id,
            "nodes": [here],
            "count": 1,
            "parent": None,
            "children": [],
            "peers": [],
            "total": 1,
        }
    )


@router.get("/nodes/local", responses={200: {"model": schemas.NodeBody}, **schemas.errors()})
async def local_node(context: Context) -> Response:
    """This node, unwrapped."""
    return json_response(_local(context))


@router.get("/health", responses={200: {"model": schemas.HealthBody}, **schemas.errors()})
async def health(context: Context) -> Response:
    """Answered without a token, also beyond loopback."""
    return json_response(
        {
            "status": "healthy",
            "message": f"agent {context.manager.node_id} is up",
            "node_id": context.manager.node_id,
            "version": cnet.__version__,
        }
    )
