"""`/service/{name}/update`: a new version, in the form of its kind with what holds at present."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from cnet.web.addresses import service_page
from cnet.web.forms.kinds import form_for, update_form
from cnet.web.forms.posted import Posted, read
from cnet.web.forms.present import left_out, texts_of
from cnet.web.pages import submit
from cnet.web.pages.service import common, look
from cnet.web.rendering import see_other
from cnet.web.state import RequireWrite, Web, WebState

router = APIRouter(prefix="/service/{name}/update", dependencies=[RequireWrite])


@router.get("")
async def ask(name: str, request: Request, web: Web) -> Response:
    """The present version, to be changed."""
    service = await look(request, web, name)
    posted = _read(web, service, None)
    posted.problems.clear()
    return _shown(request, web, service, posted)


@router.post("")
async def sent(name: str, request: Request, web: Web) -> Response:
    """`do` is that of `/submit/{kind}`."""
    fields = await request.form(max_files=0, max_part_size=submit.MAX_FORM_BYTES)
    service = await look(request, web, name)
    texts = {name: text for name, text in fields.items() if isinstance(text, str)}
    posted = _read(web, service, texts)
    do = texts.get("do")
    if do == "plan" and not posted.problems:
        plan = await submit.plan_of(request, web, posted)
        return _shown(request, web, service, posted, plan=plan)
    if do == "submit" and not posted.problems:
        answer = await submit.send(request, web, posted)
        if answer.ok:
            return see_other(request, service_page(name))
    if do not in {"plan", "submit"}:
        posted.problems.clear()
    return _shown(request, web, service, posted)


def _present(service: dict[str, Any]) -> dict[str, Any]:
    """The newest version that serves; the newest of all where none does."""
    versions: list[dict[str, Any]] = service["versions"]
    return next((each for each in reversed(versions) if each["weight"] is not None), versions[-1])


def _read(web: WebState, service: dict[str, Any], texts: dict[str, str] | None) -> Posted:
    """What was sent; None: what the present version has."""
    template = _present(service)["template"]
    form = form_for(template["type"], web.context.manager.executors)
    if form is None:
        raise HTTPException(404)
    form = update_form(form)
    return read(form, texts_of(form, template) if texts is None else texts, name=service["name"])


def _shown(
    request: Request,
    web: WebState,
    service: dict[str, Any],
    posted: Posted,
    *,
    plan: dict[str, Any] | None = None,
) -> Response:
    present = _present(service)
    begun = _read(web, service, None)
    made = {name: value for name, value in begun.spec.items() if name != "name"}
    more = {
        **common(service),
        "action": f"{service_page(service['name'])}/update",
        "present": present["version"],
        "lost": left_out(begun.form, present["template"], made),
    }
    return submit.shown(request, web, posted, plan=plan, more=more)
