"""The OpenAPI document of a service, made of what its runtime tells of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnet import __version__
from cnet.inference.deadlines import HEADER, LONGEST_MS
from cnet.inference.runtime import (
    DescribesRequests,
    ModelRuntime,
    PredictsTensors,
    ServesTensors,
    Signature,
    TensorSpec,
)

Schema = dict[str, Any]

_ERROR = {"type": "object", "required": ["error", "details"], "properties": {
    "error": {"type": "string", "description": "a stable word"},
    "details": {"type": "string"},
}}  # fmt: skip
_V2_ERROR = {"type": "object", "required": ["error", "code"], "properties": {
    "error": {"type": "string", "description": "a sentence"},
    "code": {"type": "string", "description": "a stable word"},
}}  # fmt: skip
_REFUSALS = {
    400: "not what its content type says", 408: "the body stopped coming", 413: "too large",
    415: "another content type", 422: "a field is wrong, or the model cannot take this input",
    429: "the line is full; ask again (Retry-After)", 500: "the service or the model failed",
    504: "the time given to the request ran out",
}  # fmt: skip
_TIMEOUT = {
    "name": HEADER, "in": "header", "required": False,
    "schema": {"type": "integer", "minimum": 1, "maximum": LONGEST_MS},
}  # fmt: skip
_INTEGERS = {
    f"{sign}INT{bits}": (0 if sign else -(2 ** (bits - 1)), 2 ** (bits - (not sign)) - 1)
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
_LARGEST = {"FP16": 65_504.0, "FP32": 3.4e38, "FP64": 1.7e308}


def document(runtime: ModelRuntime, *, name: str) -> Schema:
    """OpenAPI 3.1 for the routes in front of `runtime`; the service is called `name`."""
    paths: Schema = {
        "/": _get("the routes"),
        "/health": _get("whether it answers"),
        "/info": _get("the model"),
        "/openapi.json": _get("this document"),
        "/metrics": {"get": {"summary": "figures for Prometheus", "responses": {
            "200": {"description": "text", "content": {"text/plain": {}}}
        }}},
        "/predict": {"post": {
            "summary": "what the model says",
            "parameters": [*_query(runtime), _TIMEOUT],
            "requestBody": _body_of(runtime),
            "responses": _responses(_answer_of(runtime), _ERROR),
        }},
    }  # fmt: skip
    if isinstance(runtime, ServesTensors):
        paths |= _open_inference(runtime.signature, name)
    return {
        "openapi": "3.1.0",
        "info": {"title": f"cnet-inference: {name}", "version": __version__},
        "paths": paths,
    }


def tensor(spec: TensorSpec) -> Schema:
    """Nested lists of an array."""
    if spec.shape is None:
        return {"description": f"{spec.datatype}, of any shape"}
    schema = element(spec.datatype)
    if spec.also:
        schema = {"anyOf": [schema, *(element(each) for each in spec.also)]}
    for size in reversed(spec.shape):
        schema = {"type": "array", "items": schema}
        if size >= 0:
            schema |= {"minItems": size, "maxItems": size}
    return schema


def element(datatype: str) -> Schema:
    """One value of a datatype in JSON."""
    if datatype == "BOOL":
        return {"type": "boolean"}
    if datatype == "BYTES":
        return {"type": "string"}
    if datatype in _INTEGERS:
        low, high = _INTEGERS[datatype]
        return {"type": "integer", "minimum": low, "maximum": high}
    most = _LARGEST[datatype]
    return {"type": ["number", "null"], "minimum": -most, "maximum": most}


def _body_of(runtime: ModelRuntime) -> Schema:
    if isinstance(runtime, PredictsTensors):
        content: Schema = _json(_plain(runtime.signature))
    elif isinstance(runtime, DescribesRequests):
        content = {
            kind: {"schema": dict(schema)} for kind, schema in runtime.request_bodies().items()
        }
    else:
        content = {"*/*": {}}
    return {"required": True, "content": content}


def _query(runtime: ModelRuntime) -> Sequence[Schema]:
    if not isinstance(runtime, DescribesRequests):
        return []
    return [
        {"name": name, "in": "query", "required": False, "schema": dict(schema)}
        for name, schema in runtime.query_parameters().items()
    ]


def _answer_of(runtime: ModelRuntime) -> Schema:
    if not isinstance(runtime, PredictsTensors):
        return {"type": "object"}
    outputs: Schema = {spec.name: {} for spec in runtime.signature.outputs}
    return {
        "type": "object",
        "required": ["outputs"],
        "properties": {"outputs": {"type": "object", "properties": outputs}},
    }


def _plain(signature: Signature) -> Schema:
    by_name = _object({spec.name: tensor(spec) for spec in signature.inputs})
    inputs: Schema = by_name
    if len(signature.inputs) == 1:
        inputs = {"anyOf": [by_name, tensor(signature.inputs[0])]}
    names = [spec.name for spec in signature.outputs]
    outputs = {"type": "array", "minItems": 1, "items": {"enum": names}}
    return _object({"inputs": inputs, "outputs": outputs}, required=["inputs"])


def _open_inference(signature: Signature, name: str) -> Schema:
    model = f"/v2/models/{name}"
    infer = {"post": {
        "summary": "Open Inference Protocol; bytes may follow the JSON",
        "parameters": [_TIMEOUT],
        "requestBody": {"required": True, "content": _json(_infer(signature))},
        "responses": _responses({"type": "object", "required": ["outputs"]}, _V2_ERROR),
    }}  # fmt: skip
    plain = ("/v2", "/v2/health/live", "/v2/health/ready", model, f"{model}/ready")
    return {**{path: _get("Open Inference Protocol") for path in plain}, f"{model}/infer": infer}


def _infer(signature: Signature) -> Schema:
    size = {"type": "integer", "minimum": 0, "maximum": 64}
    inputs = []
    for spec in signature.inputs:
        datatypes = [spec.datatype, *spec.also]
        sizes = [size if each < 0 else {"const": each} for each in spec.shape or ()]
        fixed = {"prefixItems": sizes, "minItems": len(sizes), "maxItems": len(sizes)}
        shape = {"type": "array", "items": size, **({} if spec.shape is None else fixed)}
        data = {"type": "array", "items": {"anyOf": [element(each) for each in datatypes]}}
        inputs.append(
            _object(
                {
                    "name": {"const": spec.name},
                    "shape": shape,
                    "datatype": {"enum": datatypes},
                    "data": data,
                }
            )
        )
    outputs = [{"name": {"enum": [spec.name for spec in signature.outputs]}}]
    return _object(
        {
            "id": {"type": "string"},
            "inputs": {
                "type": "array", "items": {"anyOf": inputs},
                "minItems": len(inputs), "maxItems": len(inputs),
            },
            "outputs": {"type": "array", "items": _object(outputs[0])},
        },
        required=["inputs"],
    )  # fmt: skip


def _object(properties: Mapping[str, Any], *, required: Sequence[str] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties if required is None else required),
        "additionalProperties": False,
    }


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _get(summary: str) -> Schema:
    answer = {"description": summary, "content": _json({"type": "object"})}
    return {"get": {"summary": summary, "responses": {"200": answer}}}


def _responses(answer: Schema, error: Schema) -> Schema:
    found = {"200": {"description": "the answer", "content": _json(answer)}}
    refused = {
        str(status): {"description": words, "content": _json(error)}
        for status, words in _REFUSALS.items()
    }
    return {**found, **refused}
