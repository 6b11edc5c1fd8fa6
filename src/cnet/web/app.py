"""The application of the pages."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from cnet.api.context import ApiContext
from cnet.api.errors import status_of
from cnet.api.sessions import Sessions
from cnet.errors import CnetError
from cnet.web import live, static_files
from cnet.web.asking import Api
from cnet.web.pages import NAVIGATION, ROUTERS
from cnet.web.rendering import page, see_other
from cnet.web.state import WebState


def create_pages(context: ApiContext, api: ASGIApp, *, token: str | None) -> FastAPI:
    """All pages; they read from `context`, and what they change goes through `api`."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.web = WebState(
        context=context,
        api=Api(api),
        sessions=None if token is None else Sessions(token),
        navigation=NAVIGATION,
    )
    for router in (static_files.router, live.router, *ROUTERS):
        app.include_router(router)

    @app.exception_handler(CnetError)
    async def known(request: Request, error: CnetError) -> Response:
        return _problem(request, status_of(error), error.message)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return _problem(request, HTTPStatus(error.status_code), None)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"][1:])
        return _problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, f"{name}: {problem['msg']}")

    return app


def _problem(request: Request, status: HTTPStatus, details: str | None) -> Response:
    if "part" in request.query_params and status == HTTPStatus.NOT_FOUND:
        return see_other(request, request.url.path)  # what a page shows is gone: say so in full
    known = {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.FORBIDDEN}
    if "part" in request.query_params:  # of a page that shows something already
        return PlainTextResponse(details or status.phrase, status)
    title = str(status.value) if status in known else "other"
    return page(
        request,
        "problem.html",
        {"title": title, "details": details, "code": status.value},
        status=status,
        whole=True,
    )
