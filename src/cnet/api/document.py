"""The OpenAPI document: routes name the models of their answers, and it holds the definitions.

They are worked out when somebody asks for the document; the start of an agent does not wait.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from cnet.api.schemas import ErrorBody

Responses = dict[int | str, dict[str, Any]]
"""`responses` of a route."""

_REFERENCE = "#/components/schemas/{model}"
_answers: dict[str, type[BaseModel]] = {}


def answer(*models: type[BaseModel]) -> dict[str, Any]:
    """A response in JSON that has the shape of one of the models."""
    _answers.update({model.__name__: model for model in models})
    references = [{"$ref": _REFERENCE.format(model=model.__name__)} for model in models]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    return {"content": {"application/json": {"schema": schema}}}


def answer_list(model: type[BaseModel]) -> dict[str, Any]:
    """A response in JSON that is a bare array of the model."""
    _answers[model.__name__] = model
    items = {"$ref": _REFERENCE.format(model=model.__name__)}
    return {"content": {"application/json": {"schema": {"type": "array", "items": items}}}}


def errors(*codes: int) -> Responses:
    """The `responses` of a route for the error codes it may answer."""
    return {code: answer(ErrorBody) for code in (*codes, 401, 403)}


class DocumentedApp(FastAPI):
    """FastAPI, with the definitions of the answers in its document."""

    def openapi(self) -> dict[str, Any]:
        """The document; it is made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            known = document.setdefault("components", {}).setdefault("schemas", {})
            known.update(_definitions())
        return super().openapi()


def _definitions() -> dict[str, Any]:
    _, found = models_json_schema(
        [(model, "serialization") for model in _answers.values()], ref_template=_REFERENCE
    )
    definitions: dict[str, Any] = found["$defs"]
    return definitions


def inlined(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model with its definitions put in place of the references to them.

    For bodies that FastAPI does not read itself: it collects no definitions for those.
    """
    document = model.model_json_schema()
    definitions = document.pop("$defs", {})

    def resolved(part: Any) -> Any:
        if isinstance(part, list):
            return [resolved(each) for each in part]
        if not isinstance(part, dict):
            return part
        part = dict(part)
        name = str(part.pop("$ref", "")).rpartition("/")[2]
        found = {key: resolved(value) for key, value in part.items()}
        return resolved(definitions[name]) | found if name else found

    schema: dict[str, Any] = resolved(document)
    return schema
