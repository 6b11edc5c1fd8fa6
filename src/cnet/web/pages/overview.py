"""`/`: how this node stands: quota and its last hour, what needs a look, what happened lately."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from cnet._support import clock
from cnet.api.context import ApiContext
from cnet.manager import Workload
from cnet.manager.history import KEPT_S, Sample
from cnet.model.lifecycle import WIRE_STATUSES, Phase, wire_status
from cnet.model.resources import Resources
from cnet.web import formats
from cnet.web.rendering import page
from cnet.web.state import Web

router = APIRouter()

PENDING_SHOWN = 8
EVENTS_SHOWN = 12
FAILED_LATELY_S = 3_600
CHART_WIDTH, CHART_HEIGHT = 240, 40
SHORTEST_CHART_S = 300
"""An agent that has just started has little to draw; the hour fills up from here."""


@dataclass(frozen=True, slots=True)
class Quota:
    """One resource: held and total as text, its share, and drawings of the last hour."""

    name: str
    held: str
    free: str
    total: str
    share: float
    held_area: str
    """path of what was held"""
    used_line: str
    """path of what the machine really used; empty where nobody measures that"""


@router.get("/")
async def overview(request: Request, web: Web) -> Response:
    """This node at a glance."""
    context = web.context
    manager = context.manager
    events = await manager.events.latest(EVENTS_SHOWN)
    workloads = web.workloads()
    counts = Counter(wire_status(item.status.phase) for item in workloads)
    pending = [item for item in workloads if item.status.phase == Phase.PENDING]
    values = {
        "own": manager.own_node,
        "up_s": clock.now() - context.started_at,
        "quotas": quotas(context),
        "span_s": _span_s(manager.history.samples()),
        "counts": [(status, counts.get(status, 0)) for status in WIRE_STATUSES],
        "pending": pending[:PENDING_SHOWN],
        "pending_more": len(pending) - PENDING_SHOWN,
        "events": events,
        "problems": _problems(context, workloads),
        "neighbours": _neighbours(context),
    }
    return page(request, "overview/page.html", values)


def quotas(context: ApiContext) -> list[Quota]:
    """The four resources of this node; GPUs only where there are some."""
    ledger = context.manager.ledger
    samples = context.manager.history.samples()
    held, total = ledger.allocated, ledger.capacity
    span_s = _span_s(samples)

    def one(
        name: str,
        show: Callable[[float], str],
        of: Callable[[Resources], float],
        used: Callable[[Sample], float] | None = None,
    ) -> Quota:
        now = [*((sample.at, of(sample.held)) for sample in samples), (clock.now(), of(held))]
        measured = [] if used is None else [(sample.at, used(sample)) for sample in samples]
        return Quota(
            name,
            show(of(held)),
            show(max(0, of(total) - of(held))),
            show(of(total)),
            formats.percent(of(held), of(total)),
            _area(_points(now, of(total), span_s)),
            _line(_points(measured, of(total), span_s)),
        )

    found = [
        one("cpu", formats.cores, lambda r: r.cpu / 1000, lambda s: s.busy_millicores / 1000),
        one("memory", formats.size, lambda r: r.memory, lambda s: s.memory_used),
        one("storage", formats.size, lambda r: r.storage),
    ]
    if total.gpu:
        found.append(one("gpu", formats.cores, lambda r: r.gpu))
    return found


def _span_s(samples: Sequence[Sample]) -> float:
    """Seconds that the drawings reach back."""
    if not samples:
        return SHORTEST_CHART_S
    return min(KEPT_S, max(SHORTEST_CHART_S, clock.now() - samples[0].at))


Points = list[tuple[float, float]]


def _points(values: Sequence[tuple[float, float]], top: float, span_s: float) -> Points:
    """Times of the span and values from 0 to `top` in the coordinates of the drawing."""
    end = clock.now()
    return [
        (
            CHART_WIDTH * (1 - min(1.0, max(0.0, end - at) / span_s)),
            CHART_HEIGHT * (1 - formats.percent(value, top) / 100),
        )
        for at, value in values
    ]


def _line(points: Points) -> str:
    return "".join(f"{'L' if index else 'M'}{x:.1f} {y:.1f}" for index, (x, y) in enumerate(points))


def _area(points: Points) -> str:
    """Steps: what is held does not change between two samples bit by bit."""
    path = f"M{points[0][0]:.1f} {CHART_HEIGHT}"
    before = CHART_HEIGHT * 1.0
    for x, y in points:
        path += f"L{x:.1f} {before:.1f}L{x:.1f} {y:.1f}"
        before = y
    return f"{path}L{CHART_WIDTH} {before:.1f}L{CHART_WIDTH} {CHART_HEIGHT}Z"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something to look at; `key` names its sentence."""

    tone: str
    key: str
    href: str
    name: str = ""
    count: int = 0


def _problems(context: ApiContext, workloads: Sequence[Workload]) -> list[Problem]:
    found = [
        Problem("bad", "unreachable", f"/nodes/{node.node_id}", name=node.node_id)
        for node in context.exchange.view.nodes()
        if not node.reachable
    ][:5]
    if context.manager.own_node.draining:
        found.append(Problem("warn", "draining", f"/nodes/{context.manager.node_id}"))
    since = clock.now() - FAILED_LATELY_S
    failed = [
        item
        for item in workloads
        if wire_status(item.status.phase) == "failed" and (item.status.ended_at or 0) > since
    ]
    if failed:
        found.append(Problem("bad", "failed", "/workloads?status=failed", count=len(failed)))
    return found


def _neighbours(context: ApiContext) -> dict[str, list[str]]:
    view = context.exchange.view
    found: dict[str, list[str]] = {"parent": [], "child": [], "peer": []}
    for node in view.nodes():
        relation = view.relation(node.node_id)
        if relation is not None:
            found[relation].append(node.node_id)
    return {relation: sorted(names) for relation, names in found.items()}
