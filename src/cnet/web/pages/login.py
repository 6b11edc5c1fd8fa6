"""Logging in and out, language and colours."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from cnet._support import clock
from cnet.api.sessions import SESSION_S
from cnet.web.preferences import (
    LANGUAGE_COOKIE,
    LANGUAGES,
    THEME_COOKIE,
    THEMES,
    YEAR_S,
    own_path,
)
from cnet.web.rendering import page
from cnet.web.state import Web

router = APIRouter()
Next = Annotated[str, Query(alias="next", max_length=2_000)]


@router.get("/login")
async def ask_token(request: Request, web: Web, then: Next = "/") -> Response:
    """The page that asks for the token; where none is needed it leads on."""
    if web.sessions is None:
        return RedirectResponse("/", 303)
    return page(request, "login.html", {"next": own_path(then), "wrong": False})


@router.post("/login")
async def log_in(
    request: Request,
    web: Web,
    token: Annotated[str, Form(max_length=4_096)] = "",
    then: Annotated[str, Form(alias="next", max_length=2_000)] = "/",
) -> Response:
    """A session for whoever knows the token."""
    if web.sessions is None:
        return RedirectResponse("/", 303)
    if not web.sessions.is_token(token):
        values = {"next": own_path(then), "wrong": True}
        return page(request, "login.html", values, status=HTTPStatus.UNAUTHORIZED)
    answer = RedirectResponse(own_path(then), 303)
    answer.set_cookie(
        web.sessions.cookie,
        web.sessions.issue(clock.now()),
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        secure=_came_by_tls(request),
    )
    return answer


@router.post("/logout")
async def log_out(web: Web) -> Response:
    """Forget the session in this browser."""
    answer = RedirectResponse("/login", 303)
    if web.sessions is not None:
        answer.delete_cookie(web.sessions.cookie, httponly=True, samesite="strict")
    return answer


@router.post("/preferences")
async def choose(
    request: Request,
    language: Annotated[str, Form(max_length=8)] = "",
    theme: Annotated[str, Form(max_length=8)] = "",
    then: Annotated[str, Form(alias="next", max_length=2_000)] = "/",
) -> Response:
    """Keep a choice for a year, and show the same page again."""
    answer = RedirectResponse(own_path(then), 303)
    for name, value, allowed in (
        (LANGUAGE_COOKIE, language, LANGUAGES),
        (THEME_COOKIE, theme, THEMES),
    ):
        if value in allowed:
            answer.set_cookie(
                name,
                value,
                max_age=YEAR_S,
                httponly=True,
                samesite="strict",
                secure=_came_by_tls(request),
            )
    return answer


def _came_by_tls(request: Request) -> bool:
    """Whether the browser speaks TLS, also where a proxy in front ends it: its Origin says so."""
    return request.headers.get("origin", "").startswith("https:")
