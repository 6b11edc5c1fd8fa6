"""The one table from errors to HTTP status, and the one shape of an error body.

`{"error": <stable word>, "details": <sentence>, ...}` (contract 0).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from cnet import errors

log = structlog.get_logger(__name__)

STATUS: tuple[tuple[type[errors.CnetError], HTTPStatus], ...] = (
    (errors.MalformedError, HTTPStatus.BAD_REQUEST),
    (errors.MediaTypeError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (errors.TooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (errors.SpecError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.ForbiddenError, HTTPStatus.FORBIDDEN),
    (errors.AuthError, HTTPStatus.UNAUTHORIZED),
    (errors.NotFoundError, HTTPStatus.NOT_FOUND),
    (errors.ConflictError, HTTPStatus.CONFLICT),
    (errors.BadGatewayError, HTTPStatus.BAD_GATEWAY),
    (errors.StorageFullError, HTTPStatus.INSUFFICIENT_STORAGE),
    (errors.DeadlineError, HTTPStatus.GATEWAY_TIMEOUT),
    (errors.TransientError, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.CnetError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
"""First match wins; the more special class stands first."""

RETRY_AFTER_S = "1"


def status_of(error: errors.CnetError) -> HTTPStatus:
    """The HTTP status for an error."""
    return next(status for kind, status in STATUS if isinstance(error, kind))


def body_of(error: errors.CnetError) -> dict[str, Any]:
    """What is sent for an error."""
    body: dict[str, Any] = {"error": error.code, "details": error.message}
    if isinstance(error, errors.SpecError) and error.field:
        body["field"] = error.field
    if isinstance(error, errors.CapacityError):
        body["reasons"] = list(error.reasons)
    return body


def error_response(error: errors.CnetError) -> Response:
    """An error as an HTTP answer."""
    status = status_of(error)
    headers: dict[str, str] = {}
    if error.retryable:
        headers["retry-after"] = RETRY_AFTER_S
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return json_response(body_of(error), status=status, headers=headers)


def json_response(
    content: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """JSON with the trailing newline that curl users like."""
    return Response(
        orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE),
        status_code=status,
        media_type="application/json",
        headers=headers,
    )


def install(app: FastAPI) -> None:
    """Make every error of the application leave in the one shape."""

    @app.exception_handler(errors.CnetError)
    async def known(_request: Request, error: errors.CnetError) -> Response:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"][1:]) or "body"
        message = f"{name}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"
        return error_response(errors.SpecError(message, field=name))

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> Response:
        return error_response(
            errors.MalformedError("body: the connection ended in the midst of it")
        )

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        codes = {404: "not_found", 405: "method_not_allowed"}
        details = str(error.detail)
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.NOT_FOUND:
            details = f"no route {request.url.path}; the API is described at /docs"
        elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = _allowed(request)
            details = (
                f"{request.method} is not possible on {request.url.path}; "
                f"allowed: {headers['Allow']}"
            )
        return json_response(
            {"error": codes.get(error.status_code, "http_error"), "details": details},
            status=error.status_code,
            headers=headers,
        )

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        log.error("request_failed", path=request.url.path, exc_info=error)
        body = {"error": "internal_error", "details": "an error of the agent; its log says more"}
        return json_response(body, status=HTTPStatus.INTERNAL_SERVER_ERROR)


def _allowed(request: Request) -> str:
    """The methods of all routes of the path; the framework tells those of the first one only."""
    methods: set[str] = set()
    for route in _flat(request.app.routes):
        match, _ = route.matches(request.scope)
        if match is Match.PARTIAL:
            methods |= getattr(route, "methods", None) or set()
    return ", ".join(sorted(methods))


def _flat(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """Routes of included routers beside the others, whether or not FastAPI keeps them apart."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is None:
            yield route
        else:
            yield from _flat(included.routes)
