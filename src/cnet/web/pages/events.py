"""`/events`: what happened to workloads, newest first, and the logs of what runs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from cnet.executors.base import KeepsLogs
from cnet.model.lifecycle import WIRE_STATUSES, wire_status
from cnet.web.pages.workload import log_of
from cnet.web.rendering import page
from cnet.web.state import Web

router = APIRouter(prefix="/events")

PAGE = 100
LOOKED_AT = 2_000
"""Events looked through for one page of those that match."""
LOGS_SHOWN = 100


@router.get("")
async def events(
    request: Request,
    web: Web,
    q: Annotated[str, Query(max_length=128)] = "",
    status: Annotated[str, Query(max_length=16)] = "",
    before: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    workload: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Events by text and status; beside them a log of one's choice."""
    manager = web.context.manager
    wanted = q.strip().casefold()
    found = await manager.events.latest(LOOKED_AT if wanted or status else PAGE + 1, before=before)
    matching = [
        event
        for event in found
        if (not status or event.data["status"] == status)
        and (
            not wanted
            or wanted in str(event.data["name"]).casefold()
            or wanted in str(event.data["status_detail"] or "").casefold()
        )
    ]
    more = len(matching) > PAGE or len(found) == LOOKED_AT
    shown = matching[:PAGE]
    last = shown[-1].seq if len(matching) > PAGE else found[-1].seq if found else None
    running = [item for item in web.workloads() if wire_status(item.status.phase) == "running"]
    with_logs = [
        item for item in running if item.status.host or isinstance(item.executor, KeepsLogs)
    ]
    values = {
        "q": q,
        "status": status,
        "before": before,
        "workload": workload,
        "statuses": [*WIRE_STATUSES, "deleted"],
        "events": shown,
        "next": last if more else None,
        "with_logs": with_logs[: -LOGS_SHOWN - 1 : -1],
    }
    if workload and "part" not in request.query_params:
        values |= await log_of(request, web, workload)
    return page(request, "events/page.html", values)
