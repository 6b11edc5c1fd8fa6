"""Request bodies: JSON objects, read into models by one set of rules."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from cnet.api.document import inlined
from cnet.errors import MalformedError, MediaTypeError, SpecError
from cnet.manager.admission import field_error

Model = TypeVar("Model", bound=BaseModel)


def media_type_of(request: Request) -> str:
    """What the body is, without parameters; empty when nothing is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, model: type[Model]) -> Model:
    """The body of a request as a `model`.

    Raises MediaTypeError, MalformedError (no JSON) or SpecError (a field is wrong).
    """
    media_type = media_type_of(request)
    if media_type != "application/json":
        given = media_type or "none"
        raise MediaTypeError(f"Content-Type: {given!r} is not taken here; use application/json")
    try:
        document = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"body: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise SpecError("body: must be a JSON object", field="body")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise field_error(error) from None


def described(
    model: type[BaseModel], *, form: dict[str, Any] | None = None, **example: Any
) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body `read_body` reads, or which also takes a form.

    `form` is the schema of that.
    """
    content: dict[str, Any] = {"schema": inlined(model)}
    if example:
        content["example"] = example
    contents = {"application/json": content}
    if form is not None:
        contents["multipart/form-data"] = {"schema": form}
    return {"requestBody": {"required": True, "content": contents}}
