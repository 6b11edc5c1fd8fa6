"""`/service/{name}`: how a service stands; scale, traffic, rollback, delete.

Not below `/services/`: what is there belongs to the service itself.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from cnet.errors import NotFoundError, UnreachableError
from cnet.web.addresses import SERVICES, service_page
from cnet.web.asking import path_of
from cnet.web.forms import scale, texts, traffic
from cnet.web.forms.posted import WHOLE, Problem
from cnet.web.forms.services import MODE
from cnet.web.pages.models import KINDS as TRIED
from cnet.web.rendering import language_of, page, refused, see_other
from cnet.web.state import RequireWrite, Web, WebState

router = APIRouter(prefix="/service/{name}")

INSTANCES_SHOWN: Final = 100
NOT_NOW: Final = {"wait": "false"}
"""The page shows how it comes about."""


async def look(request: Request, web: WebState, name: str) -> dict[str, Any]:
    """The service as the API shows it. Raises NotFoundError, UnreachableError."""
    answer = await web.api.ask(request, "GET", path_of("services", name))
    if not answer.ok:
        raise (NotFoundError if answer.status == 404 else UnreachableError)(answer.details)
    found: dict[str, Any] = answer.json
    return found


def common(service: dict[str, Any]) -> dict[str, Any]:
    """What every page of a service shows."""
    name = service["name"]
    return {"section": SERVICES, "service": service, "name": name, "address": service_page(name)}


@router.get("")
async def service(name: str, request: Request, web: Web) -> Response:
    """How it stands."""
    found = await look(request, web, name)
    versions = found["versions"]
    known = {item.id for item in web.workloads()}
    values = {
        **common(found),
        "versions": versions[::-1],
        "shares": traffic.shares({each["version"]: each["weight"] for each in versions}),
        "target": (found["rollout"] or {}).get("target"),
        "wanted": sum(each["replicas"] for each in versions),
        "instances": found["instances"][:INSTANCES_SHOWN],
        "instances_total": len(found["instances"]),
        "known": known,
        "tried": found["type"] in TRIED,
        "can_share": len(versions) > 1,
        "can_roll_back": len(versions) > 1 or found["rollout"] is not None,
        "created_at": _seconds(found["created_at"]),
        "updated_at": _seconds(found["updated_at"]),
    }
    return page(request, "services/detail.html", values)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# --- how many ------------------------------------------------------------------------------------


@router.get("/scale", dependencies=[RequireWrite])
async def ask_scale(name: str, request: Request, web: Web) -> Response:
    """So many, or by load."""
    found = await look(request, web, name)
    return _scale_page(request, found, scale.present(found), {})


@router.post("/scale", dependencies=[RequireWrite])
async def set_scale(name: str, request: Request, web: Web) -> Response:
    """Wish for it."""
    sent = _texts(await request.form(max_files=0))
    found = await look(request, web, name)
    posted = scale.read_scale(sent, by_load_now=found["autoscale"] is not None)
    if not posted.problems:
        answer = await web.api.ask(
            request, "PUT", path_of("services", name, "scale"), json=posted.service, query=NOT_NOW
        )
        if answer.ok:
            return see_other(request, service_page(name))
        posted.blame(answer.field, answer.details, code=str(answer.json.get("error", "")))
    return _scale_page(request, found, posted.texts, posted.problems)


def _scale_page(
    request: Request,
    service: dict[str, Any],
    shown: dict[str, str],
    problems: dict[str, Problem],
) -> Response:
    language = language_of(request)
    values = {
        **common(service),
        "fields": scale.FORM.fields,
        "texts": shown,
        "problems": _sentences(request, problems),
        "whole": WHOLE,
        "label": lambda field: texts.label(field, language),
        "help_text": lambda field: "" if field.name == MODE else texts.help_text(field, language),
        "choice": lambda field, value: texts.choice(field, value, language),
    }
    return page(request, "services/scale.html", values, status=422 if problems else 200)


# --- how the requests are shared -----------------------------------------------------------------


@router.get("/traffic", dependencies=[RequireWrite])
async def ask_traffic(name: str, request: Request, web: Web) -> Response:
    """Percents of the versions that are known."""
    found = await look(request, web, name)
    weights = {each["version"]: each["weight"] for each in found["versions"]}
    shown = {
        f"{traffic.PREFIX}{version}": "" if share is None else str(share)
        for version, share in traffic.shares(weights).items()
    }
    return _traffic_page(request, found, shown, {})


@router.post("/traffic", dependencies=[RequireWrite])
async def set_traffic(name: str, request: Request, web: Web) -> Response:
    """Wish for it."""
    sent = _texts(await request.form(max_files=0))
    found = await look(request, web, name)
    weights, problems = traffic.read_weights((each["version"] for each in found["versions"]), sent)
    if not problems:
        answer = await web.api.ask(
            request,
            "PUT",
            path_of("services", name, "traffic"),
            json={"weights": weights},
            query=NOT_NOW,
        )
        if answer.ok:
            return see_other(request, service_page(name))
        problems[WHOLE] = Problem(message=answer.details)
    return _traffic_page(request, found, sent, problems)


def _traffic_page(
    request: Request,
    service: dict[str, Any],
    shown: dict[str, str],
    problems: dict[str, Problem],
) -> Response:
    values = {
        **common(service),
        "versions": service["versions"][::-1],
        "texts": shown,
        "prefix": traffic.PREFIX,
        "problems": _sentences(request, problems),
        "whole": WHOLE,
    }
    return page(request, "services/traffic.html", values, status=422 if problems else 200)


# --- back, and away ------------------------------------------------------------------------------


@router.get("/rollback", dependencies=[RequireWrite])
@router.get("/delete", dependencies=[RequireWrite])
async def ask_first(
    name: str,
    request: Request,
    web: Web,
    version: Annotated[str, Query(max_length=63)] = "",
) -> Response:
    """Whether one is sure."""
    values = {
        **common(await look(request, web, name)),
        "action": request.url.path.rpartition("/")[2],
        "version": version,
    }
    return page(request, "services/confirm.html", values)


@router.post("/rollback", dependencies=[RequireWrite])
async def roll_back(name: str, request: Request, web: Web) -> Response:
    """To the version before, or to the one that is named."""
    version = _texts(await request.form(max_files=0)).get("version") or None
    answer = await web.api.ask(
        request,
        "POST",
        path_of("services", name, "rollback"),
        json={"version": version},
        query=NOT_NOW,
    )
    return see_other(request, service_page(name)) if answer.ok else refused(request, answer)


@router.post("/delete", dependencies=[RequireWrite])
async def delete(name: str, request: Request, web: Web) -> Response:
    """It goes when its replicas have finished what they have."""
    answer = await web.api.ask(request, "DELETE", path_of("services", name), query=NOT_NOW)
    return see_other(request, SERVICES) if answer.ok else refused(request, answer)


def _texts(form: FormData) -> dict[str, str]:
    return {name: text for name, text in form.items() if isinstance(text, str)}


def _sentences(request: Request, problems: dict[str, Problem]) -> dict[str, str]:
    language = language_of(request)
    return {name: texts.sentence(problem, language) for name, problem in problems.items()}
