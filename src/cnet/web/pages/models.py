"""`/models`: served models, and each of them to be tried on a picture or on numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Final, Literal

import orjson
from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from cnet.manager import Workload
from cnet.model.lifecycle import Phase, wire_status
from cnet.web.addresses import service_page
from cnet.web.rendering import page
from cnet.web.state import Web, WebState

router = APIRouter()

KINDS: Final = ("mlmodel", "opencv")
OF_PICTURES: Final = frozenset({"yolo", "opencv"})
"""Runtimes that are asked with a picture; the others take tensors."""
PAGE: Final = 50


@dataclass(frozen=True, slots=True)
class Service:
    """A replica as the page shows it."""

    id: str
    name: str
    runtime: str
    """`yolo`, `onnx`, `opencv`, …"""
    detail: str
    """what it serves: a path, or what the cascade looks for"""
    status: str
    reason: str | None
    node_id: str
    ready: bool
    listed: bool = True
    """this agent has a page of its workload"""

    @property
    def mode(self) -> Literal["picture", "tensors"]:
        """How it is tried."""
        return "picture" if self.runtime in OF_PICTURES else "tensors"


@router.get("/models")
async def models(
    request: Request,
    web: Web,
    q: Annotated[str, Query(max_length=200)] = "",
    start: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """All replicas of all models, a page at a time, newest first."""
    found = list(islice(_services(web, q.strip().lower()), start, start + PAGE + 1))
    values = {
        "services": found[:PAGE],
        "q": q,
        "before": max(0, start - PAGE) if start else None,
        "after": start + PAGE if len(found) > PAGE else None,
    }
    return page(request, "models/list.html", values)


@router.get("/models/{name}")
async def model(request: Request, web: Web, name: str) -> Response:
    """One model by the name of its service: its replicas, and a place to try it."""
    replicas = [service for service in _services(web, "") if service.name == name]
    replicas = replicas or await _elsewhere(request, web, name)
    if not replicas:
        raise HTTPException(404)
    values = {
        "name": name,
        "replicas": replicas[:PAGE],
        "first": next((each for each in replicas if each.ready), replicas[0]),
        "service": None if web.context.directory.routed(name) is None else service_page(name),
        "base_url": str(request.base_url).rstrip("/"),
        "wants_token": web.sessions is not None,
    }
    return page(request, "models/model.html", values)


async def _elsewhere(request: Request, web: WebState, name: str) -> list[Service]:
    """Replicas that other agents took, as far as the view tells of them."""
    found = [
        (workload_id, node.node_id)
        for node in web.context.exchange.view.nodes()
        for workload_id in node.state.services.get(name, ())
    ]
    if not found:
        return []
    answer = await web.api.ask(request, "GET", f"/services/{name}/info")
    try:
        said = answer.json if answer.ok else {}
    except orjson.JSONDecodeError:
        said = None
    info = said if isinstance(said, dict) else {}  # it may be no model at all
    runtime = info.get("model_type") or info.get("service_type") or ""
    detail = info.get("model_path") or info.get("cascade_type") or ""
    return [
        Service(
            id=workload_id,
            name=name,
            runtime=str(runtime),
            detail=str(detail),
            status="running",
            reason=None,
            node_id=node_id,
            ready=True,
            listed=False,
        )
        for workload_id, node_id in found
    ]


def _services(web: WebState, query: str) -> Iterator[Service]:
    manager = web.context.manager
    for item in reversed(list(manager.workloads())):
        if item.spec.type in KINDS:
            service = _service(item, manager.node_id)
            if not query or query in f"{service.name} {service.runtime} {service.detail}".lower():
                yield service


def _service(item: Workload, own_id: str) -> Service:
    status, config = item.status, item.spec.config
    is_model = item.spec.type == "mlmodel"
    runtime = (config.get("model_type") or config.get("framework") or "") if is_model else "opencv"
    detail = config.get("model_path", "") if is_model else config.get("cascade_type", "face")
    return Service(
        id=item.id,
        name=item.spec.name,
        runtime={"scikit-learn": "sklearn", "onnxruntime": "onnx"}.get(runtime, runtime),
        detail=str(detail),
        status=wire_status(status.phase),
        reason=status.reason,
        node_id=status.host or own_id,
        ready=status.phase == Phase.RUNNING,
    )
