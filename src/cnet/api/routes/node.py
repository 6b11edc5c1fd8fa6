"""`/api/resources`, `/api/nodes`, `/api/health`: this node, the others, and their room."""

from __future__ import annotations

from heapq import nsmallest
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.responses import Response

import cnet
from cnet._support import clock
from cnet._support.clock import rfc3339
from cnet.api import render, schemas
from cnet.api.bodies import described, read_body
from cnet.api.context import ApiContext, Context
from cnet.api.document import answer, errors
from cnet.api.errors import json_response
from cnet.api.latency import round_trip_ms
from cnet.api.relay import Relayed
from cnet.errors import ConflictError, NotFoundError
from cnet.manager.history import EVERY_S
from cnet.model.lifecycle import WIRE_STATUSES
from cnet.model.node import KnownNode
from cnet.register.view import View

router = APIRouter(prefix="/api", tags=["node"])

MAX_PAGE = 1_000
NodeId = Annotated[str, Path(max_length=128, description="name of a node")]


class LabelChanges(BaseModel):
    """Labels to set, and with null to remove."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: dict[
        Annotated[str, Field(min_length=1, max_length=253)],
        Annotated[str, Field(max_length=253)] | None,
    ] = Field(min_length=1, max_length=64)

    @field_validator("labels")
    @classmethod
    def _printable(cls, labels: dict[str, str | None]) -> dict[str, str | None]:
        for key, value in labels.items():
            if not key.isprintable() or not (value or "").isprintable() or "=" in key:
                raise ValueError("keys and values must be printable, keys without =")
        return labels


def _own(context: ApiContext) -> dict[str, Any]:
    return render.own_node(context.manager, updated_at=clock.now())


def _shown(context: ApiContext, node: KnownNode) -> dict[str, Any]:
    if node.node_type == "local":
        return _own(context)
    return render.known_node(
        node,
        depth=_depth(context.exchange.view, node),
        updated_at=clock.now() - context.exchange.age(node.node_id),
    )


def _depth(view: View, node: KnownNode) -> int:
    """Levels below the own node; the number of hops where an agent in between is not known."""
    if node.node_type != "child":
        return 0
    passed = {node.node_id}
    parent_id = node.state.parent_id
    while parent_id is not None and parent_id != view.node_id and parent_id not in passed:
        passed.add(parent_id)
        above = view.get(parent_id)
        parent_id = above.state.parent_id if above is not None else None
    return len(passed) if parent_id == view.node_id else node.hops


def _find(context: ApiContext, node_id: str) -> KnownNode:
    node = context.exchange.view.get(node_id)
    if node is None:
        raise NotFoundError(f"no node {node_id} is known to {context.manager.node_id}")
    return node


def _elsewhere(context: ApiContext, node_id: str) -> Response | None:
    """The answer of another node's agent; None when this agent is the one to answer.

    Raises NotFoundError, ConflictError for a node that nothing can be asked of, UnreachableError.
    """
    if node_id == context.manager.node_id:
        return None
    if not _find(context, node_id).linked:
        raise ConflictError(f"node {node_id} registered over HTTP and has no link to be asked by")
    return Relayed(context.links.app_for(node_id))


@router.get("/resources", responses={200: answer(schemas.ResourcesAnswer), **errors()})
async def resources(context: Context) -> Response:
    """Capacity, allocated and available of this node."""
    return json_response({"resources": _own(context)})


@router.get("/resources/stats", responses={200: answer(schemas.StatsBody), **errors()})
async def stats(context: Context) -> Response:
    """Room of this node, how many stand directly below and beside it, workloads by status."""
    counts = context.manager.counts()
    view = context.exchange.view
    relations = [view.relation(node.node_id) for node in view.nodes()]
    return json_response(
        {
            "local_resources": render.totals(context.manager),
            "child_nodes_count": relations.count("child"),
            "peer_nodes_count": relations.count("peer"),
            "workloads_count": sum(counts.values()),
            "workloads_by_status": {status: counts.get(status, 0) for status in WIRE_STATUSES},
        }
    )


@router.get("/history", responses={200: answer(schemas.HistoryBody), **errors()})
async def history(context: Context) -> Response:
    """What this node held and used over the last hour, oldest first."""
    samples = context.manager.history.samples()
    return json_response(
        {
            "interval_s": EVERY_S,
            "total": context.manager.ledger.capacity.to_wire(),
            "samples": [
                {
                    "at": rfc3339(sample.at),
                    "held": sample.held.to_wire(),
                    "busy_cpu": sample.busy_millicores / 1000,
                    "memory_used": sample.memory_used,
                }
                for sample in samples
            ],
        }
    )


@router.get("/nodes", responses={200: answer(schemas.NodesBody), **errors(422)})
async def nodes(
    context: Context,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
) -> Response:
    """Every node known here: the own one first, then the others by name, a page at a time."""
    view = context.exchange.view
    others = [node for node in view.nodes() if node.node_type != "local"]
    page = [] if cursor is not None else [_own(context)]
    wanted = limit - len(page)
    rest = nsmallest(
        wanted + 1,
        (node for node in others if cursor is None or node.node_id > cursor),
        key=lambda node: node.node_id,
    )
    page += [_shown(context, node) for node in rest[:wanted]]
    near: dict[str | None, list[dict[str, Any]]] = {"parent": [], "child": [], "peer": []}
    for node in others:
        if (relation := view.relation(node.node_id)) is not None:
            near[relation].append(_shown(context, node))
    return json_response(
        {
            "node_id": view.node_id,
            "nodes": page,
            "count": len(page),
            "next_cursor": page[-1]["node_id"] if len(rest) > wanted else None,
            "parent": near["parent"][0] if near["parent"] else None,
            "children": near["child"],
            "peers": near["peer"],
            "total": len(others) + 1,
        }
    )


@router.get("/nodes/local", responses={200: answer(schemas.NodeBody), **errors()})
async def local_node(context: Context) -> Response:
    """This node, unwrapped."""
    return json_response(_own(context))


@router.get(
    "/nodes/{node_id}",
    summary="Look at a node",
    responses={200: answer(schemas.NodeBody), **errors(404, 422)},
)
async def get_node(node_id: NodeId, context: Context) -> Response:
    """One of those that are known here."""
    if node_id == context.manager.node_id:
        return json_response(_own(context))
    return json_response(_shown(context, _find(context, node_id)))


@router.get(
    "/nodes/{node_id}/links",
    summary="Measure the links of a node",
    responses={200: answer(schemas.LinksBody), **errors(404, 409, 422, 503)},
)
async def links(node_id: NodeId, context: Context) -> Response:
    """The agents it is linked to, and how long a question to each takes there and back now."""
    elsewhere = _elsewhere(context, node_id)
    if elsewhere is not None:
        return elsewhere
    linked = dict(context.links.linked)
    taken: dict[str, float | None] = {}

    async def measure(peer_id: str) -> None:
        taken[peer_id] = await round_trip_ms(context.links, peer_id)

    async with anyio.create_task_group() as group:
        for peer_id in linked:
            group.start_soon(measure, peer_id)
    found = [
        {"node_id": peer_id, "role": role, "round_trip_ms": taken[peer_id]}
        for peer_id, role in sorted(linked.items())
    ]
    return json_response({"node_id": node_id, "links": found})


@router.get(
    "/nodes/{node_id}/gpus",
    summary="Look at the GPUs of a node",
    responses={200: answer(schemas.GpuList), **errors(404, 422, 503)},
)
async def get_gpus(node_id: NodeId, context: Context) -> Response:
    """Those it gives to workloads: what they are, who holds them, how much memory is in use."""
    if (elsewhere := _elsewhere(context, node_id)) is not None:
        return elsewhere
    devices = context.manager.ledger.devices
    told = await render.gpus(context.manager, devices) if devices else []
    return json_response({"gpus": told, "count": len(told)})


@router.post(
    "/nodes/{node_id}/drain",
    summary="Let a node take no new work",
    responses={200: answer(schemas.ChangedNodeBody), **errors(404, 409, 422, 503, 507)},
)
async def drain(node_id: NodeId, context: Context) -> Response:
    """Lasts until it is undone, also over a restart; what runs there runs on."""
    return await _drain(context, node_id, True)


@router.post(
    "/nodes/{node_id}/undrain",
    summary="Let a node take new work again",
    responses={200: answer(schemas.ChangedNodeBody), **errors(404, 409, 422, 503, 507)},
)
async def undrain(node_id: NodeId, context: Context) -> Response:
    """Harmless when it was not drained."""
    return await _drain(context, node_id, False)


async def _drain(context: ApiContext, node_id: str, draining: bool) -> Response:
    elsewhere = _elsewhere(context, node_id)
    if elsewhere is not None:
        return elsewhere
    await context.manager.drain(draining)
    what = "takes no new work" if draining else "takes new work"
    return json_response({"message": f"node {node_id} {what}", "node": _own(context)})


@router.patch(
    "/nodes/{node_id}/labels",
    summary="Change labels of a node",
    openapi_extra=described(LabelChanges, labels={"zone": "east", "gpu": None}),
    responses={
        200: answer(schemas.ChangedNodeBody),
        **errors(400, 404, 409, 413, 415, 422, 503, 507),
    },
)
async def relabel(node_id: NodeId, request: Request, context: Context) -> Response:
    """Sets labels and removes those given as null; lasts over a restart of the agent."""
    elsewhere = _elsewhere(context, node_id)
    if elsewhere is not None:
        return elsewhere
    changes = await read_body(request, LabelChanges)
    await context.manager.relabel(changes.labels)
    return json_response({"message": f"labels of {node_id} changed", "node": _own(context)})


@router.delete(
    "/nodes/{node_id}",
    summary="Give up a node that will never be back",
    responses={200: answer(schemas.MessageBody), **errors(404, 409, 422)},
)
async def forget(node_id: NodeId, context: Context) -> Response:
    """Its workloads that this agent owns are placed again; should it return, they are void there.

    Whoever says so must be sure: nothing can prove that they do not run there still.
    """
    _find(context, node_id)
    context.manager.give_up(node_id)
    message = f"node {node_id} given up"
    try:
        context.exchange.unregister(node_id)
    except ConflictError:
        message += "; it is shown as long as another agent tells of it: give it up there as well"
    return json_response({"message": message})


@router.get("/health", responses={200: answer(schemas.HealthBody), **errors()})
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
