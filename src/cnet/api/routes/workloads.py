"""`/api/workloads`: submit, look, stop, restart, delete, logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from cnet._support.clock import now, rfc3339
from cnet.api import render, schemas, uploads
from cnet.api.bodies import described, media_type_of, read_body
from cnet.api.context import ApiContext, Context
from cnet.api.document import answer, errors
from cnet.api.errors import json_response
from cnet.api.relay import Relayed, answer_of
from cnet.errors import SpecError, TransitionError, UnreachableError
from cnet.manager import Manager, Workload
from cnet.model.lifecycle import WIRE_STATUSES, Phase, wire_status
from cnet.model.workload import WorkloadSpec, WorkloadStatus
from cnet.supervision import follow, tail

router = APIRouter(prefix="/api/workloads", tags=["workloads"])

MAX_PAGE = 1_000
MAX_LOG_BYTES = 8 * 1024 * 1024
"""of one answer with `lines`; a stream has no bound"""
ON_THE_WAY = frozenset({"delegating", "placing", "restarting"})
"""Status reasons of pending workloads that are about to change."""
WorkloadId = Annotated[str, Path(max_length=64, description="id of a workload")]
Wait = Annotated[bool, Query(description="false: answer as soon as the wish is durable")]

SUBMIT_BODY = described(
    WorkloadSpec,
    form=uploads.FORM,
    name="test-process",
    type="process",
    requirements={"cpu": 1.0, "memory": 536870912},
    config={"command": "sleep", "args": ["60"]},
)


@router.post(
    "",
    status_code=201,
    summary="Submit a workload",
    openapi_extra=SUBMIT_BODY,
    responses={
        201: answer(schemas.WorkloadBody, schemas.UploadBody),
        200: answer(schemas.WorkloadBody) | {"description": "Accepted before under this id"},
        **errors(400, 409, 413, 415, 422, 507),
    },
)
async def submit(request: Request, context: Context, wait: Wait = True) -> Response:
    """Accept a workload and place it. It is durable before this is answered.

    A form (`multipart/form-data`) uploads data to this very node: its part `file`, or its parts
    `files` with their relative paths.

    A process is answered when it runs, a service when it is ready or has failed to become so; one
    for which there is no room now waits as `pending` (`"queue": false` asks for 409 instead).
    """
    if media_type_of(request) == "multipart/form-data":
        return _uploaded(request, context, await uploads.receive(request, context))
    spec = await read_body(request, WorkloadSpec)
    workload, new = await context.manager.submit(spec)
    if wait:
        await workload.until(settled)
    return json_response(shown(request, context, workload), status=201 if new else 200)


def _uploaded(request: Request, context: ApiContext, done: uploads.Uploaded) -> Response:
    """Contract 2: the workload, and what became of the data."""
    result = done.workload.status.result
    body = {
        "workload": shown(request, context, done.workload),
        "data_key": result["data_key"],
        "size": result["size"],
        "status": "uploaded",
        "path": result["file_path"] or result["directory_path"],
    }
    if result["hash"] is not None:
        body["hash"] = result["hash"]
    return json_response(body, status=201)


def shown(request: Request, context: ApiContext, workload: Workload) -> dict[str, Any]:
    """The object, with endpoints that lead by way of the address that was asked."""
    over_link = "cnet.link" in request.scope
    base_url = context.base_url if over_link else str(request.base_url).rstrip("/")
    return render.workload(workload, context.manager.node_id, base_url=base_url)


def settled(status: WorkloadStatus) -> bool:
    """Nothing more is to be expected soon: it runs, has ended, or waits for what may take long."""
    if status.reason in {"node_unreachable", "engine_unreachable"}:
        return True
    return status.phase not in {Phase.STARTING, Phase.STOPPING} and not (
        status.phase == Phase.PENDING and status.reason in ON_THE_WAY
    )


def _ended(status: WorkloadStatus) -> bool:
    return (status.is_terminal and not status.result) or _is_cut_off(status)


def _is_cut_off(status: WorkloadStatus) -> bool:
    """Its node, or engine, will be told when it can be reached again; nobody waits for that."""
    if status.reason == "engine_unreachable":
        return True
    return status.host is not None and status.reason == "node_unreachable"


def carried(context: ApiContext, node_id: str | None) -> Response | None:
    """The answer of another node; None when it is this one's to answer."""
    if node_id is None:
        return None
    return Relayed(context.links.app_for(node_id))


async def _by_owner(request: Request, context: ApiContext, workload: Workload) -> Response | None:
    """What a user wants of a workload goes by way of the agent that took it.

    None when that is this one, or cannot be reached: then stopping and restarting is this node's
    affair, and the owner will hear of it.
    """
    owner = workload.status.owner
    if owner is None or context.exchange.next_hop(owner) is None:
        return None
    return await answer_of(context.links.app_for(owner), request)


@router.get(
    "",
    summary="List workloads",
    responses={200: answer(schemas.WorkloadList), **errors(422)},
)
async def list_workloads(
    request: Request,
    context: Context,
    status: Annotated[str | None, Query(description="one of the five")] = None,
    kind: Annotated[str | None, Query(alias="type")] = None,
    name: Annotated[str | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
) -> Response:
    """Oldest first, a page at a time."""
    if status is not None and status not in WIRE_STATUSES:
        raise SpecError(
            f"status: {status!r} is not one of {', '.join(WIRE_STATUSES)}", field="status"
        )
    matching = (
        workload
        for workload in after(context.manager, cursor)
        if (status is None or wire_status(workload.status.phase) == status)
        and (kind is None or workload.spec.type == kind)
        and (name is None or workload.spec.name == name)
    )
    page = list(islice(matching, limit + 1))
    more = len(page) > limit
    bodies = [shown(request, context, item) for item in page[:limit]]
    return json_response(
        {
            "workloads": bodies,
            "count": len(bodies),
            "next_cursor": page[limit - 1].id if more else None,
        }
    )


def after(manager: Manager, cursor: str | None, *, name: str = "cursor") -> list[Workload]:
    """Workloads behind the one the cursor names; a deleted one ends the walk with an error."""
    everything = list(manager.workloads())
    if cursor is None:
        return everything
    for index, workload in enumerate(everything):
        if workload.id == cursor:
            return everything[index + 1 :]
    raise SpecError(f"{name}: that workload is gone; start again without one", field=name)


@router.get(
    "/{workload_id}",
    summary="Look at a workload",
    responses={200: answer(schemas.WorkloadBody), **errors(404, 422)},
)
async def get_workload(workload_id: WorkloadId, request: Request, context: Context) -> Response:
    """How it stands."""
    return json_response(shown(request, context, context.manager.get(workload_id)))


@router.post(
    "/{workload_id}/stop",
    summary="Stop a workload",
    responses={
        200: answer(schemas.StopBody),
        202: answer(schemas.StopBody) | {"description": "Its node cannot be reached now"},
        **errors(404, 409, 422, 503, 507),
    },
)
async def stop(
    workload_id: WorkloadId, request: Request, context: Context, wait: Wait = True
) -> Response:
    """SIGTERM, then SIGKILL after `stop_grace_s`; answered when all its processes are gone.

    The wish is durable: a node that cannot be reached (202) is told when it can. A restart that
    overtakes it is 409.
    """
    there = await _by_owner(request, context, context.manager.get(workload_id))
    if there is not None:
        return there
    workload = await context.manager.stop(workload_id)
    if wait:
        await workload.until(lambda status: _ended(status) or status.desired == "running")
        if not _ended(workload.status):
            raise TransitionError(f"workload {workload_id} was restarted before it had stopped")
    done = not _is_cut_off(workload.status)
    message = f"workload {workload_id} " + ("stopped" if done else _later(workload, "stops"))
    body = {"message": message, "workload": shown(request, context, workload)}
    return json_response(body, status=200 if done else 202)


@router.post(
    "/{workload_id}/restart",
    summary="Restart a workload",
    responses={200: answer(schemas.WorkloadBody), **errors(404, 409, 422, 503, 507)},
)
async def restart(
    workload_id: WorkloadId, request: Request, context: Context, wait: Wait = True
) -> Response:
    """End the present run, if there is one, and start another."""
    there = await _by_owner(request, context, context.manager.get(workload_id))
    if there is not None:
        return there
    workload = await context.manager.restart(workload_id)
    if wait:
        await workload.until(settled)
    return json_response(shown(request, context, workload))


@router.delete(
    "/{workload_id}",
    summary="Delete a workload",
    responses={
        200: answer(schemas.MessageBody),
        202: answer(schemas.MessageBody) | {"description": "Its node cannot be reached now"},
        **errors(404, 409, 422, 503, 507),
    },
)
async def delete(
    workload_id: WorkloadId, request: Request, context: Context, wait: Wait = True
) -> Response:
    """Stop it first if need be, then forget it with its logs, wherever it is.

    The wish is durable: a node that cannot be reached (202) is told when it can.
    """
    workload = context.manager.get(workload_id)
    if (there := await _by_owner(request, context, workload)) is not None:
        return there
    if workload.status.owner is not None:
        raise UnreachableError(
            f"{workload_id} belongs to {workload.status.owner}, which cannot be reached now; "
            "it can be stopped here, and deleted when its owner is back",
            code="node_unreachable",
        )
    workload = await context.manager.delete(workload_id)
    if wait:
        await _until_forgotten(workload)
    if wait and not workload.forgotten.is_set():
        message = f"workload {workload_id} {_later(workload, 'is deleted')}"
        return json_response({"message": message}, status=202)
    return json_response({"message": f"workload {workload_id} deleted"})


async def _until_forgotten(workload: Workload) -> None:
    async def cut_off() -> None:
        await workload.until(_is_cut_off)
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(cut_off)
        await workload.forgotten.wait()
        group.cancel_scope.cancel()


def _later(workload: Workload, what: str) -> str:
    status = workload.status
    who = "its engine" if status.reason == "engine_unreachable" else status.host
    return f"{what} when {who} can be reached again"


@router.get(
    "/{workload_id}/usage",
    summary="What a run uses now",
    responses={200: answer(schemas.UsageBody), **errors(404, 409, 422, 503)},
)
async def usage(workload_id: WorkloadId, context: Context) -> Response:
    """CPU seconds and memory of all its processes, what a container has moved, the GPUs held."""
    workload = context.manager.get(workload_id)
    if (elsewhere := carried(context, workload.status.host)) is not None:
        return elsewhere
    used = await context.manager.usage(workload_id)
    body: dict[str, Any] = {**asdict(used), "at": rfc3339(now())}
    if devices := workload.status.gpu_devices:
        body["gpus"] = await render.gpus(context.manager, devices)
    return json_response(body)


@router.get(
    "/{workload_id}/logs",
    summary="Read a workload's output",
    responses={
        200: {
            "content": answer(schemas.LogsBody)["content"]
            | {"text/plain": {"schema": {"type": "string"}}},
            "description": "With `follow`, a text stream that ends when the workload has",
        },
        **errors(404, 422, 503),
    },
)
async def logs(
    workload_id: WorkloadId,
    context: Context,
    lines: Annotated[str, Query(description="from the end; 0 or less: all there is")] = "100",
    follow_on: Annotated[bool, Query(alias="follow")] = False,
) -> Response:
    """stdout and stderr together, of all runs, as far as rotation has kept them."""
    workload = context.manager.get(workload_id)
    if (elsewhere := carried(context, workload.status.host)) is not None:
        return elsewhere
    keeper = context.manager.keeper_of_logs(workload)
    wanted = line_count(lines)
    if keeper is None:
        return json_response({"logs": [], "count": 0})
    path = keeper.log_path(workload_id)
    if follow_on:

        def done() -> bool:
            return workload.status.is_terminal or context.closing.is_set()

        stream: AsyncIterator[bytes] = follow(path, wanted, done)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(stream, headers=headers, media_type="text/plain; charset=utf-8")
    found = await anyio.to_thread.run_sync(tail, path, wanted, MAX_LOG_BYTES)
    answer: dict[str, Any] = {"logs": found, "count": len(found)}
    return json_response(answer)


def line_count(text: str) -> int:
    """The number, 100 where it is none (as the original answered), 0 for all."""
    try:
        return max(0, int(text))
    except ValueError:
        return 100
