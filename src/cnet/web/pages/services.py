"""`/services`: every service that this agent knows, its own and those of other agents."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from cnet.web.addresses import SERVICES, service_page
from cnet.web.asking import path_of
from cnet.web.forms.traffic import shares
from cnet.web.rendering import page, refused
from cnet.web.state import Web

router = APIRouter()

PAGE: Final = 50


@router.get("/services")
async def services(
    request: Request,
    web: Web,
    q: Annotated[str, Query(max_length=200)] = "",
    start: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """By name, a page at a time."""
    answer = await web.api.ask(request, "GET", path_of("services"))
    if not answer.ok:
        return refused(request, answer)
    text = q.strip().casefold()
    found = [each for each in answer.json["services"] if text in each["name"].casefold()]
    values = {
        "section": SERVICES,
        "services": [_row(each) for each in found[start : start + PAGE]],
        "q": q,
        "before": max(0, start - PAGE) if start else None,
        "after": start + PAGE if len(found) > start + PAGE else None,
    }
    return page(request, "services/list.html", values)


def _row(service: dict[str, Any]) -> dict[str, Any]:
    """What a row shows; of a service that another agent owns the wanted replicas are not known."""
    versions = service["versions"]
    share = shares({each["version"]: each["weight"] for each in versions})
    known = "replicas" in service
    return {
        **service,
        "address": service_page(service["name"]),
        "type": service.get("type"),
        "reason": service.get("status_reason"),
        "wanted": sum(each["replicas"] for each in versions) if known else None,
        "by_load": service.get("autoscale"),
        "serving": [
            (each["version"], share[each["version"]])
            for each in versions
            if each["weight"] is not None
        ],
    }
