"""From a template to an answer: words, filters, headers.

A page is rendered whole, or one block of it (`?part=<block>`), by which htmx brings a region up to
date. `ui`, `t` and the other names of `_environment` are there in every template and every block.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

import cnet
from cnet.web import formats, messages, static_files
from cnet.web.asking import Answer
from cnet.web.preferences import Language, Preferences, preferences_of
from cnet.web.state import WebState, may_write

TEMPLATES = Path(__file__).parent / "templates"
SECURITY_HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    # With no-referrer a browser would send `Origin: null` with forms, which the guard refuses.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
COMPRESS_FROM = 1_400
_reader: ContextVar[Preferences] = ContextVar("reader")


def page(
    request: Request,
    template: str,
    values: Mapping[str, Any] | None = None,
    *,
    status: int = 200,
    whole: bool = False,
) -> Response:
    """The page, or with `?part=…` one block of it unless it is to be `whole`.

    Raises HTTPException 404 for a part that the page does not have.
    """
    reader = preferences_of(request)
    token = _reader.set(reader)
    try:
        body = _rendered(request, template, reader, values or {}, whole=whole)
    finally:
        _reader.reset(token)
    headers = {**SECURITY_HEADERS, "cache-control": "no-store", "vary": "accept-encoding"}
    content = body.encode()
    if len(content) > COMPRESS_FROM and "gzip" in request.headers.get("accept-encoding", ""):
        content = gzip.compress(content, compresslevel=3, mtime=0)
        headers["content-encoding"] = "gzip"
    return Response(content, status, headers, media_type="text/html")


def see_other(request: Request, path: str) -> Response:
    """Go on to another page: by the header that htmx follows, or as browsers do."""
    if "hx-request" in request.headers:
        return Response(status_code=204, headers={"hx-redirect": path})
    return RedirectResponse(path, 303)


def refused(request: Request, answer: Answer) -> Response:
    """A page that says why the API did not do what was asked."""
    known = {403: "403", 404: "404", 409: "409"}
    values = {
        "title": known.get(answer.status, "other"),
        "details": answer.details,
        "code": answer.status,
    }
    return page(request, "problem.html", values, status=answer.status)


def language_of(request: Request) -> Language:
    """`en` or `zh`."""
    return preferences_of(request).language


def _rendered(
    request: Request, name: str, reader: Preferences, values: Mapping[str, Any], *, whole: bool
) -> str:
    template = _environment().get_template(name)
    web: WebState = request.app.state.web
    everything = {
        "request": request,
        "path": request.url.path,
        "language": reader.language,
        "theme": reader.theme,
        "node_id": web.context.manager.node_id,
        "version": cnet.__version__,
        "may_write": may_write(request),
        "has_login": web.sessions is not None,
        "navigation": web.navigation,
        "mark": getattr(request.state, "mark", ""),
        **values,
    }
    part = None if whole else request.query_params.get("part")
    if part is None:
        return template.render(everything)
    block = template.blocks.get(part)
    if block is None:
        raise HTTPException(404)
    return "".join(block(template.new_context(everything)))


def t(key: str, **values: object) -> str:
    """The text of a key in the language of the reader."""
    return messages.text(_reader.get().language, key, **values)


def word(prefix: str, value: str) -> str:
    """A stable word of the agent in the language of the reader."""
    return messages.word(_reader.get().language, prefix, value)


@jinja2.pass_context
def live(context: jinja2.runtime.Context, topics: str, part: str, *, every: str = "") -> Markup:
    """Attributes of an element whose content is the block `part`, and is kept up to date.

    `topics`: what it depends on, separated by blanks (see `cnet.web.live`). A page that may also be
    the answer to a form has its own path in `address`. `every`, such as `5s`: also without a
    change, for numbers that nobody tells of.
    """
    request: Request = context["request"]
    pairs = [(key, value) for key, value in request.query_params.multi_items() if key != "part"]
    path = context.get("address", request.url.path)
    url = f"{path}?{urlencode([*pairs, ('part', part)])}"
    return Markup(
        'data-live="{}" hx-get="{}" hx-trigger="{}" hx-target="this" hx-swap="morph:innerHTML" '
        'hx-disinherit="*"'
    ).format(topics, url, f"live, every {every}" if every else "live")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals.update(t=t, word=word, live=live, static=static_files.address)
    environment.filters.update(
        size=formats.size,
        cores=formats.cores,
        percent=formats.percent,
        moment=formats.moment,
        duration=formats.duration,
    )
    environment.globals["ui"] = environment.get_template("components/ui.html").module
    return environment
