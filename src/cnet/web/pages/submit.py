"""`/submit`: a form for every kind, where it would go, and the same as text for others."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from cnet.web.addresses import service_page
from cnet.web.asking import Answer, path_of
from cnet.web.forms import snippets, texts
from cnet.web.forms.kinds import CONFIG, KINDS, KindForm, form_for, offered
from cnet.web.forms.posted import WHOLE, Posted, read
from cnet.web.forms.requests import request_of
from cnet.web.rendering import language_of, page, see_other
from cnet.web.state import RequireWrite, Web, WebState

router = APIRouter()

NODES_SUGGESTED = 200
REJECTIONS_SHOWN = 20
MAX_FORM_BYTES = 4 * 1024 * 1024
ICONS = {
    "process": "terminal",
    "container": "package",
    "mlmodel": "cpu",
    "opencv": "eye",
    "data": "database",
    "datagateway": "server",
    "reservation": "clock",
    "ml": "activity",
}


@router.get("/submit", dependencies=[RequireWrite])
@router.get("/submit/{kind}", dependencies=[RequireWrite])
async def blank(request: Request, web: Web, kind: str = "process") -> Response:
    """A new form; fields named in the address begin with what stands there."""
    form = _form(web, kind)
    given = {
        name: text for name, text in request.query_params.items() if form.field(name) is not None
    }
    texts_of_form = form.blank() | {"name": f"{kind}-{secrets.token_hex(3)}"}
    _keep_clear_of_ports(web, form, texts_of_form)
    posted = read(form, texts_of_form | given)
    posted.problems.clear()
    return shown(request, web, posted)


@router.post("/submit/{kind}", dependencies=[RequireWrite])
async def sent(request: Request, web: Web, kind: str) -> Response:
    """`do=plan` says where it would go, `do=submit` submits it, anything else only shows it."""
    form = _form(web, kind)
    fields = await request.form(max_files=0, max_part_size=MAX_FORM_BYTES)
    posted = read(form, {name: text for name, text in fields.items() if isinstance(text, str)})
    do = fields.get("do")
    if do == "plan" and not posted.problems:
        return shown(request, web, posted, plan=await plan_of(request, web, posted))
    if do == "submit" and not posted.problems and not posted.is_upload:
        answer = await send(request, web, posted)
        if answer.ok:
            made = answer.json
            there = f"/workloads/{made['id']}"
            return see_other(request, service_page(made["name"]) if posted.is_service else there)
    ready = do == "submit" and not posted.problems
    if do not in {"plan", "submit"}:
        posted.problems.clear()  # somebody is still typing
    return shown(request, web, posted, ready=ready)


async def send(request: Request, web: WebState, posted: Posted) -> Answer:
    """Ask the API for what a form without faults says; what it finds is noted at the fields."""
    wish = request_of(posted)
    answer = await web.api.ask(
        request, wish.method, wish.path, json=wish.body, query={"wait": "false"}
    )
    if not answer.ok:
        _blame(posted, answer)
    return answer


def _form(web: WebState, kind: str) -> KindForm:
    form = form_for(kind, web.context.manager.executors)
    if form is None:
        raise HTTPException(404)
    return form


def _keep_clear_of_ports(web: WebState, form: KindForm, into: dict[str, str]) -> None:
    """The seeds' port as long as nobody here has it; after that any free one."""
    name = f"{CONFIG}service_port"
    wanted = into.get(name, "")
    taken = {str(item.status.port) for item in web.context.manager.workloads() if item.status.port}
    if form.field(name) is not None and wanted in taken:
        into[name] = ""


async def plan_of(request: Request, web: WebState, posted: Posted) -> dict[str, Any] | None:
    """The API's answer; None when it has found a fault, which is noted then."""
    if posted.is_upload:
        own = web.context.manager.node_id
        return {"node": own, "candidates": [own], "rejections": [], "impossible": False}
    answer = await web.api.ask(request, "POST", path_of("plan"), json=posted.spec)
    if not answer.ok:
        _blame(posted, answer)
        return None
    found: dict[str, Any] = answer.json
    found["more"] = max(0, len(found["rejections"]) - REJECTIONS_SHOWN)
    found["rejections"] = found["rejections"][:REJECTIONS_SHOWN]
    return found


def _blame(posted: Posted, answer: Answer) -> None:
    said = answer.json
    posted.blame(answer.field, answer.details, code=str(said.get("error", "")))


def shown(
    request: Request,
    web: WebState,
    posted: Posted,
    *,
    plan: dict[str, Any] | None = None,
    ready: bool = False,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """The form with what stands in it and what is wrong with it; `more` is for new versions."""
    language = language_of(request)
    context = web.context
    nodes = sorted(node.node_id for node in context.exchange.view.nodes())
    base_url = str(request.base_url).rstrip("/")
    wish = request_of(posted)
    values = {
        "action": f"/submit/{quote(posted.form.kind, safe='')}",
        "kinds": offered({*context.manager.executors, *KINDS}),
        "icons": ICONS,
        "form": posted.form,
        "texts": posted.texts,
        "problems": {
            name: texts.sentence(problem, language) for name, problem in posted.problems.items()
        },
        "whole": WHOLE,
        "label": lambda field: texts.label(field, language),
        "help_text": lambda field: texts.help_text(field, language),
        "choice": lambda field, value: texts.choice(field, value, language),
        "nodes": nodes if len(nodes) <= NODES_SUGGESTED else [],
        "plan": plan,
        "upload": snippets.upload_fields(posted.spec) if ready and posted.is_upload else None,
        "is_upload": posted.is_upload,
        "curl": wish.as_curl(base_url, token=web.sessions is not None),
        "yaml": snippets.as_yaml(wish.file),
        "command": wish.as_command(),
        **(more or {}),
    }
    wrong = bool(posted.problems) and "hx-request" not in request.headers
    return page(request, "submit/page.html", values, status=422 if wrong else 200)
