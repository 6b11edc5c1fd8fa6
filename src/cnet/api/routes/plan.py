"""`/api/plan` and `/api/workloads/{id}/why`: where work would go, and why not elsewhere."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from cnet.api import schemas
from cnet.api.bodies import read_body
from cnet.api.context import Context
from cnet.api.document import answer, errors
from cnet.api.errors import json_response
from cnet.api.routes.workloads import SUBMIT_BODY, WorkloadId
from cnet.model.lifecycle import wire_status
from cnet.model.workload import WorkloadSpec
from cnet.scheduler import Plan

router = APIRouter(prefix="/api", tags=["placement"])


@router.post(
    "/plan",
    summary="Say where a workload would go",
    openapi_extra=SUBMIT_BODY,
    responses={200: answer(schemas.PlanBody), **errors(400, 413, 415, 422)},
)
async def plan(request: Request, context: Context) -> Response:
    """Nothing is done: the node it would land on now, and for every other one why not."""
    found = context.manager.plan(await read_body(request, WorkloadSpec))
    return json_response(_plan(found))


@router.get(
    "/workloads/{workload_id}/why",
    summary="Say why a workload is where it is",
    responses={200: answer(schemas.WhyBody), **errors(404, 422)},
)
async def why(workload_id: WorkloadId, context: Context) -> Response:
    """Where it is, and how each known node stands to it now."""
    workload, found = context.manager.why(workload_id)
    status = workload.status
    placed = status.holds_room or status.host is not None
    return json_response(
        {
            "workload_id": workload.id,
            "node": (status.host or context.manager.node_id) if placed else None,
            "status": wire_status(status.phase),
            "status_reason": status.reason,
            "status_detail": status.detail,
            "candidates": list(found.candidates),
            "rejections": _rejections(found),
        }
    )


def _plan(found: Plan) -> dict[str, Any]:
    return {
        "node": found.candidates[0] if found.candidates else None,
        "candidates": list(found.candidates),
        "rejections": _rejections(found),
        "impossible": found.impossible,
        "preempts": found.preempt,
    }


def _rejections(found: Plan) -> list[dict[str, Any]]:
    return [
        {"node_id": node_id, "reasons": list(reasons)}
        for node_id, reasons in found.rejections.items()
    ]
