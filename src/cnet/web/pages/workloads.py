"""`/workloads`: the list, by filters, a page at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from cnet.manager import Workload
from cnet.model.lifecycle import WIRE_STATUSES, wire_status
from cnet.web.rendering import page
from cnet.web.state import Web

router = APIRouter()

PAGE = 50
Text = Annotated[str, Query(max_length=253)]


@dataclass(frozen=True, slots=True)
class Filters:
    """What is looked for; empty fields are about everything."""

    q: str
    """part of the name, the id or a label"""
    kind: str
    node: str

    def matches(self, item: Workload, own_node_id: str) -> bool:
        """Whether a workload is looked for, whatever its status."""
        if self.kind and item.spec.type != self.kind:
            return False
        if self.node and node_of(item, own_node_id) != self.node:
            return False
        return not self.q or _has(item, self.q.casefold())


def node_of(item: Workload, own_node_id: str) -> str | None:
    """Where it runs or has run; None while it has never been given to a node."""
    status = item.status
    return status.host or (own_node_id if status.holds_room or status.attempt else None)


def _has(item: Workload, text: str) -> bool:
    if text in item.spec.name.casefold() or item.id.startswith(text):
        return True
    return any(text in f"{key}={value}".casefold() for key, value in item.spec.labels.items())


@router.get("/workloads")
async def workloads(
    request: Request,
    web: Web,
    q: Text = "",
    status: Annotated[str, Query(max_length=16)] = "",
    kind: Annotated[str, Query(alias="type", max_length=64)] = "",
    node: Annotated[str, Query(max_length=128)] = "",
    number: Annotated[int, Query(alias="page", ge=1, le=1_000_000)] = 1,
) -> Response:
    """Newest first."""
    manager = web.context.manager
    filters = Filters(q.strip(), kind, node.strip())
    everything = web.workloads()
    matching = [item for item in everything if filters.matches(item, manager.node_id)]
    counts = Counter(wire_status(item.status.phase) for item in matching)
    if status:
        matching = [item for item in matching if wire_status(item.status.phase) == status]
    pages = max(1, -(-len(matching) // PAGE))
    number = min(number, pages)
    end = len(matching) - (number - 1) * PAGE
    values = {
        "filters": filters,
        "status": status,
        "counts": [("", sum(counts.values())), *((s, counts.get(s, 0)) for s in WIRE_STATUSES)],
        "kinds": _kinds(everything, manager.executors),
        "nodes": sorted(known.node_id for known in web.context.exchange.view.nodes()),
        "shown": [
            (item, wire_status(item.status.phase), node_of(item, manager.node_id))
            for item in matching[max(0, end - PAGE) : end][::-1]
        ],
        "total": len(matching),
        "any": bool(everything),
        "number": number,
        "pages": pages,
    }
    answer = page(request, "workloads/list.html", values)
    if request.query_params.get("part") == "region":  # the address bar follows the filters
        wanted = [(k, v) for k, v in request.query_params.multi_items() if k != "part" and v]
        answer.headers["hx-replace-url"] = request.url.path + (
            f"?{urlencode(wanted)}" if wanted else ""
        )
    return answer


def _kinds(everything: Iterable[Workload], installed: Iterable[str]) -> list[str]:
    return sorted({*installed, *(item.spec.type for item in everything)})
