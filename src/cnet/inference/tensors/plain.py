"""`/predict` of models with tensors: JSON in, JSON out.

`{"inputs": {"x": [[1, 2]]}, "outputs": ["y"]}`, or `{"inputs": [[1, 2]]}` where the model has one
input; answered with `{"outputs": {"y": [3]}}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from cnet.errors import SpecError
from cnet.inference.bodies import request_fields
from cnet.inference.runtime import PredictRequest, ServesTensors, Signature, TensorSpec
from cnet.inference.tensors import json_values
from cnet.inference.tensors.batching import Asked
from cnet.inference.tensors.datatypes import Array, conform
from cnet.inference.tensors.signatures import check_shape, find, require_all, taken

_FIELDS = ("inputs", "outputs")


def answer(runtime: ServesTensors, request: PredictRequest, *, threads: int) -> Mapping[str, Any]:
    """The reply to one request; SpecError for whatever is wrong with it."""
    started = perf_counter()
    asked = read(request, runtime.signature)
    decoded = perf_counter()
    answers = runtime.infer(asked.inputs, outputs=asked.outputs, threads=threads)
    return write(asked, answers, started=started, decoded=decoded)


def read(request: PredictRequest, signature: Signature) -> Asked:
    """What is asked; SpecError for whatever is wrong with it."""
    fields = request_fields(request, _FIELDS)
    return Asked(
        inputs=_inputs(fields.get("inputs"), signature.inputs),
        outputs=_outputs(fields.get("outputs"), signature.outputs, signature.default_outputs),
    )


def write(
    asked: Asked, answers: Mapping[str, Array], *, started: float, decoded: float
) -> Mapping[str, Any]:
    """The reply; `started` and `decoded` are times of `perf_counter`."""
    return {
        "outputs": {
            name: json_values.write(conform(answers[name], name=name), name=f"outputs.{name}")
            for name in asked.outputs
        },
        "timings_ms": {
            "decode": round((decoded - started) * 1000, 3),
            "inference": round((perf_counter() - decoded) * 1000, 3),
        },
    }


def _inputs(sent: object, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    if sent is None:
        known = ", ".join(spec.name for spec in specs)
        raise SpecError(f"inputs is missing: an object of lists by name: {known}", field="inputs")
    if not isinstance(sent, dict):
        if len(specs) != 1:
            known = ", ".join(spec.name for spec in specs)
            raise SpecError(f"inputs must be an object of lists by name: {known}", field="inputs")
        sent = {specs[0].name: sent}
    arrays: dict[str, Array] = {}
    for name, value in sent.items():
        spec = find(specs, name, field="inputs")
        arrays[name] = json_values.read(value, taken(spec), field=f"inputs.{name}")
        check_shape(arrays[name].shape, spec, field=f"inputs.{name}")
    require_all(specs, arrays, field="inputs")
    return arrays


def _outputs(sent: object, specs: Sequence[TensorSpec], default: Sequence[str]) -> tuple[str, ...]:
    if sent is None:
        return tuple(default)
    if not isinstance(sent, list) or not sent:
        raise SpecError("outputs must be a list of names", field="outputs")
    return tuple(dict.fromkeys(find(specs, name, field="outputs").name for name in sent))
