"""`/nodes/{id}`: one node: its room, labels, links and workloads; drain, undrain, give up."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from cnet.errors import NotFoundError
from cnet.model.lifecycle import wire_status
from cnet.web.asking import Answer, path_of
from cnet.web.nodes import shown_node
from cnet.web.pages.workloads import node_of
from cnet.web.rendering import page, see_other
from cnet.web.state import RequireWrite, Web, WebState

router = APIRouter(prefix="/nodes/{node_id}")

WORKLOADS_SHOWN = 50
ACTIONS: Final = ("drain", "undrain", "forget")


@router.get("")
async def node(node_id: str, request: Request, web: Web) -> Response:
    """How it stands."""
    return await _page(request, web, node_id)


async def _page(
    request: Request,
    web: WebState,
    node_id: str,
    *,
    problem: str | None = None,
    given: str = "",
    status: int = 200,
) -> Response:
    context = web.context
    known = context.exchange.view.get(node_id)
    if known is None:
        raise NotFoundError(f"no node {node_id} is known to {context.manager.node_id}")
    there = [
        (item, wire_status(item.status.phase))
        for item in web.workloads()
        if node_of(item, context.manager.node_id) == node_id and not item.status.is_terminal
    ]
    values = {
        "node": shown_node(context, known),
        "state": known.state,
        "address": _address(node_id),
        "workloads": there[: -WORKLOADS_SHOWN - 1 : -1],
        "workloads_total": len(there),
        "links": None,
        "problem": problem,
        "given": given,
    }
    if request.query_params.get("part") == "links" or "measure" in request.query_params:
        answer = await web.api.ask(request, "GET", path_of("nodes", node_id, "links"))
        values["links"] = answer.json["links"] if answer.ok else []
        values["links_problem"] = None if answer.ok else answer.details
    return page(request, "nodes/page.html", values, status=status)


def _address(node_id: str) -> str:
    return f"/nodes/{quote(node_id, safe='')}"


@router.post("/labels", dependencies=[RequireWrite])
async def label(
    node_id: str,
    request: Request,
    web: Web,
    label: Annotated[str, Form(max_length=600)] = "",
    remove: Annotated[str, Form(max_length=300)] = "",
) -> Response:
    """Set `key=value`, or remove a key."""
    if remove:
        changes: dict[str, str | None] = {remove: None}
    else:
        key, equals, value = label.strip().partition("=")
        if not equals or not key:
            problem = "label: key=value is needed"
            return await _page(request, web, node_id, problem=problem, given=label, status=422)
        changes = {key.strip(): value.strip()}
    answer = await web.api.ask(
        request, "PATCH", path_of("nodes", node_id, "labels"), json={"labels": changes}
    )
    if not answer.ok:
        return await _page(
            request, web, node_id, problem=answer.details, given=label, status=answer.status
        )
    return see_other(request, _address(node_id))


@router.get("/{action}", dependencies=[RequireWrite])
async def ask_first(node_id: str, action: str, request: Request, web: Web) -> Response:
    """Whether one is sure."""
    if action not in ACTIONS:
        raise HTTPException(404)
    if web.context.exchange.view.get(node_id) is None:
        raise NotFoundError(f"no node {node_id} is known here")
    return page(request, "nodes/confirm.html", {"action": action, "name": node_id})


@router.post("/{action}", dependencies=[RequireWrite])
async def act(node_id: str, action: str, request: Request, web: Web) -> Response:
    """Carried to the node's own agent; giving a node up is this agent's affair."""
    if action not in ACTIONS:
        raise HTTPException(404)
    answer: Answer
    if action == "forget":
        answer = await web.api.ask(request, "DELETE", path_of("nodes", node_id))
    else:
        answer = await web.api.ask(request, "POST", path_of("nodes", node_id, action))
    if not answer.ok:
        return await _page(request, web, node_id, problem=answer.details, status=answer.status)
    gone = web.context.exchange.view.get(node_id) is None
    return see_other(request, "/topology" if gone else _address(node_id))
