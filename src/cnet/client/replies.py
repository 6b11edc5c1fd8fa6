"""Error replies of an agent or service, turned back into the classes of `cnet.errors`.

One table from the stable code to the class; where a reply carries no known code (a proxy in
between, an older agent) its HTTP status decides.
"""

from __future__ import annotations

import contextlib
from typing import Any, TypeVar

import httpx

from cnet.errors import (
    AuthError,
    CapacityError,
    CnetError,
    ConflictError,
    DigestError,
    ForbiddenError,
    MalformedError,
    MediaTypeError,
    NotFoundError,
    PortTakenError,
    SpecError,
    StorageFullError,
    TooLargeError,
    TransientError,
    TransitionError,
)

Value = TypeVar("Value")

_KINDS: tuple[type[CnetError], ...] = (
    AuthError,
    CapacityError,
    ConflictError,
    DigestError,
    ForbiddenError,
    MalformedError,
    MediaTypeError,
    NotFoundError,
    PortTakenError,
    SpecError,
    StorageFullError,
    TooLargeError,
    TransientError,
    TransitionError,
)

_BY_CODE: dict[str, type[CnetError]] = {kind.code: kind for kind in _KINDS} | {
    "method_not_allowed": SpecError,
    "exec_failed": SpecError,
}

_BY_STATUS: dict[int, type[CnetError]] = {
    400: MalformedError,
    401: AuthError,
    403: ForbiddenError,
    404: NotFoundError,
    405: SpecError,
    409: ConflictError,
    412: ConflictError,
    413: TooLargeError,
    415: MediaTypeError,
    422: SpecError,
    429: TransientError,
    502: TransientError,
    503: TransientError,
    504: TransientError,
    507: StorageFullError,
}

_EXCERPT = 300  # characters of a foreign reply that are worth showing


def error_from(reply: httpx.Response) -> CnetError:
    """The error that an unsuccessful `reply`, whose body has been read, stands for."""
    body = _object(reply)
    code = body.get("error")
    code = code if isinstance(code, str) and code else None
    kind = _BY_CODE.get(code or "") or _BY_STATUS.get(reply.status_code, CnetError)
    return _build(kind, _sentence(reply, body), code=code, body=body)


def error_in(body: dict[str, Any]) -> CnetError:
    """The error that an object `{error, details}` stands for, where there is no status."""
    code = str(body.get("error"))
    return _build(_BY_CODE.get(code, CnetError), str(body.get("details")), code=code, body=body)


def _build(
    kind: type[CnetError], message: str, *, code: str | None, body: dict[str, Any]
) -> CnetError:
    if issubclass(kind, SpecError):
        return kind(message, field=_text(body.get("field")), code=code)
    if issubclass(kind, CapacityError):
        reasons = body.get("reasons")
        lines = [str(reason) for reason in reasons] if isinstance(reasons, list) else []
        return kind(message, reasons=lines, code=code)
    return kind(message, code=code)


def _object(reply: httpx.Response) -> dict[str, Any]:
    try:
        body = reply.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _sentence(reply: httpx.Response, body: dict[str, Any]) -> str:
    details = body.get("details")
    if details:
        return details if isinstance(details, str) else str(details)
    text = " ".join(reply.text.split())[:_EXCERPT]
    return f"{reply.request.url} answered {reply.status_code}" + (f": {text}" if text else "")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def json_object(reply: httpx.Response) -> dict[str, Any]:
    """The JSON object of a successful reply.

    Raises CnetError when the body is something else: whatever answered is not a CNET agent.
    """
    body: Any = None
    with contextlib.suppress(ValueError):
        body = reply.json()
    if not isinstance(body, dict):
        raise foreign(f"{reply.request.url} answered {reply.status_code} without a JSON object")
    return body


def field_of(body: dict[str, Any], name: str, kind: type[Value]) -> Value:
    """`body[name]`, which must be of `kind`; CnetError as in `json_object` otherwise."""
    value = body.get(name)
    if not isinstance(value, kind):
        raise foreign(f"the answer has no {name!r}")
    return value


def foreign(what: str) -> CnetError:
    """The error for an answer that no agent gives."""
    return CnetError(f"{what}; is this a CNET agent?", code="not_an_agent")
