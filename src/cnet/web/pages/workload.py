"""`/workloads/{id}`: how one stands, its log, where it could be, what was asked for."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from cnet.api import render
from cnet.api.errors import json_response
from cnet.errors import NotFoundError
from cnet.executors.execs import Execs
from cnet.manager import Workload
from cnet.model.lifecycle import wire_status
from cnet.web.asking import path_of
from cnet.web.forms import snippets
from cnet.web.pages.workloads import node_of
from cnet.web.rendering import page, refused, see_other
from cnet.web.state import RequireWrite, Web, WebState, may_write, require_write

router = APIRouter(prefix="/workloads/{workload_id}")

TABS: Final = ("status", "log", "placement", "spec", "terminal")
EVENTS_SHOWN = 100
LOG_LINES = "300"
"""shown without scripts"""
ACTIONS: Final = ("stop", "restart", "delete")


@router.get("")
async def workload(
    workload_id: str,
    request: Request,
    web: Web,
    tab: Annotated[str, Query(max_length=16)] = "status",
) -> Response:
    """One of its tabs."""
    if tab not in TABS:
        raise HTTPException(404)
    item = web.workload(workload_id)
    values = {**_common(web, item), "tab": tab, "tabs": _tabs(request, web, item)}
    if tab == "terminal":
        await require_write(request)
        values |= {"command": "sh", "ran": None, "fault": None}
    elif tab == "status":
        values["events"] = await web.context.manager.events.latest(
            EVENTS_SHOWN, workload_id=workload_id
        )
    elif tab == "log":
        values |= await log_of(request, web, workload_id)
    elif tab == "placement":
        _, values["plan"] = web.context.manager.why(workload_id)
    elif tab == "spec":
        values |= _spec(request, web, item)
    return page(request, "workloads/detail.html", values)


def _tabs(request: Request, web: WebState, item: Workload) -> list[str]:
    """All of them, but the terminal only where somebody could talk to it."""
    runs = wire_status(item.status.phase) == "running"
    here = item.status.host is None
    talks = isinstance(item.executor, Execs) if item.executor else item.spec.type == "container"
    allowed = may_write(request) and (web.context.allow_exec or not here)
    return [tab for tab in TABS if tab != "terminal" or (runs and talks and allowed)]


def _common(web: WebState, item: Workload) -> dict[str, Any]:
    manager = web.context.manager
    status = item.status
    return {
        "address": f"/workloads/{item.id}",
        "item": item,
        "spec": item.spec,
        "status": status,
        "wire": wire_status(status.phase),
        "node": node_of(item, manager.node_id),
        "owner": status.owner or manager.node_id,
        "shown": render.workload(item, manager.node_id),
        "can_stop": not status.is_terminal or bool(status.result),
    }


async def log_of(request: Request, web: WebState, workload_id: str) -> dict[str, Any]:
    """What `components/log.html` shows until scripts bring more."""
    answer = await web.api.ask(
        request, "GET", path_of("workloads", workload_id, "logs"), query={"lines": LOG_LINES}
    )
    return {
        "lines": answer.json["logs"] if answer.ok else [],
        "log_problem": None if answer.ok else answer.details,
    }


def _spec(request: Request, web: WebState, item: Workload) -> dict[str, Any]:
    """What was submitted, without its secrets, in the three forms that people copy."""
    body = item.spec.model_dump(mode="json", exclude_defaults=True, exclude={"id", "config"})
    config = render.shown_config(item)
    body["config"] = {key: config[key] for key in item.spec.config if key in config}
    base_url = str(request.base_url).rstrip("/")
    return {
        "yaml": snippets.as_yaml(body),
        "json": snippets.as_json(body),
        "curl": snippets.as_curl(body, base_url, token=web.sessions is not None),
    }


@router.get("/usage.json")
async def usage(workload_id: str, request: Request, web: Web) -> Response:
    """What it uses now, or in `details` why nobody can tell; either is fine for a page."""
    answer = await web.api.ask(request, "GET", path_of("workloads", workload_id, "usage"))
    return json_response(answer.json)


@router.get("/log.json")
async def last_lines(
    workload_id: str,
    request: Request,
    web: Web,
    lines: Annotated[int, Query(ge=1, le=10_000)] = 100,
) -> Response:
    """The end of its log and whether there will be more, for pages to which no stream gets through.

    `lines` is null where the workload is gone: a page keeps what it shows.
    """
    try:
        ended = web.workload(workload_id).status.is_terminal  # asked first: so are all lines there
    except NotFoundError:
        return json_response({"ended": True, "lines": None})
    answer = await web.api.ask(
        request, "GET", path_of("workloads", workload_id, "logs"), query={"lines": str(lines)}
    )
    if not answer.ok:
        raise HTTPException(answer.status)
    return json_response({"ended": ended, "lines": answer.json["logs"]})


@router.get("/log.txt")
async def whole_log(workload_id: str, request: Request, web: Web) -> Response:
    """All of the log that rotation has kept, as a file."""
    name = web.workload(workload_id).spec.name
    answer = await web.api.ask(
        request, "GET", path_of("workloads", workload_id, "logs"), query={"lines": "0"}
    )
    if not answer.ok:
        raise HTTPException(answer.status)
    text = "".join(f"{line}\n" for line in answer.json["logs"])
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name)
    return Response(
        text,
        media_type="text/plain; charset=utf-8",
        headers={
            "content-disposition": f'attachment; filename="{safe}.log"',
            "x-content-type-options": "nosniff",
        },
    )


@router.post("/exec", dependencies=[RequireWrite])
async def exec_in(
    workload_id: str,
    request: Request,
    web: Web,
    command: Annotated[str, Form(max_length=65_536)] = "",
) -> Response:
    """The terminal where there is no conversation: run a command, then show what it has said."""
    answer = await web.api.ask(
        request, "POST", path_of("workloads", workload_id, "exec"), json={"command": command}
    )
    item = web.workload(workload_id)
    values = {
        **_common(web, item),
        "tab": "terminal",
        "tabs": _tabs(request, web, item),
        "command": command,
        "ran": answer.json if answer.ok else None,
        "fault": None if answer.ok else answer.details,
    }
    return page(
        request, "workloads/detail.html", values, status=200 if answer.ok else answer.status
    )


@router.get("/{action}", dependencies=[RequireWrite])
async def ask_first(workload_id: str, action: str, request: Request, web: Web) -> Response:
    """Whether one is sure."""
    if action not in ACTIONS:
        raise HTTPException(404)
    item = web.workload(workload_id)
    return page(request, "workloads/confirm.html", {**_common(web, item), "action": action})


@router.post("/{action}", dependencies=[RequireWrite])
async def act(workload_id: str, action: str, request: Request, web: Web) -> Response:
    """Wish for it; the page shows how it comes about."""
    if action not in ACTIONS:
        raise HTTPException(404)
    path = path_of("workloads", workload_id)
    answer = await (
        web.api.ask(request, "DELETE", path, query={"wait": "false"})
        if action == "delete"
        else web.api.ask(request, "POST", f"{path}/{action}", query={"wait": "false"})
    )
    if not answer.ok:
        return refused(request, answer)
    return see_other(request, "/workloads" if action == "delete" else f"/workloads/{workload_id}")
