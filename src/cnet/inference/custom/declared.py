"""The tensors that a file declares: `inputs = {"rows": ("FP32", [-1, 4])}`, `outputs` likewise."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from cnet.errors import ConfigError
from cnet.inference.runtime import Batching, Signature, TensorSpec
from cnet.inference.tensors.datatypes import DTYPES


@dataclass(frozen=True, slots=True)
class Tensors:
    """What was declared; empty where nothing was."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()


def from_json(inputs: str | None, outputs: str | None) -> Tensors:
    """`{"rows": ["FP32", [-1, 4]]}` as given on the command line; ConfigError where it is not."""
    return Tensors(_from_json("inputs", inputs), _from_json("outputs", outputs))


def merged(told: Tensors, about: Any) -> Tensors:
    """`told`, and what a class declares where it says nothing; ConfigError where that is no use."""
    inputs, outputs = (getattr(about, name, None) for name in ("inputs", "outputs"))
    return Tensors(
        told.inputs or (() if inputs is None else _specs("inputs", inputs)),
        told.outputs or (() if outputs is None else _specs("outputs", outputs)),
    )


def _from_json(role: str, text: str | None) -> tuple[TensorSpec, ...]:
    if text is None:
        return ()
    try:
        return _specs(role, json.loads(text))
    except ValueError as error:
        raise ConfigError(f"--{role} is not JSON: {error}") from None


def signature(about: Any) -> Signature | None:
    """What a file declares; None where it declares nothing. ConfigError where it is no use."""
    declared = [getattr(about, name, None) for name in ("inputs", "outputs")]
    if declared == [None, None]:
        return None
    inputs, outputs = (
        _specs(name, value) for name, value in zip(("inputs", "outputs"), declared, strict=True)
    )
    return Signature("python", inputs, outputs, tuple(spec.name for spec in outputs))


def batching(about: Any, signature: Signature, *, most_rows: int) -> Batching:
    """Whether rows of several requests may go together: where the file says `batching = True`."""
    wanted = getattr(about, "batching", False)
    if not isinstance(wanted, bool):
        raise ConfigError(f"batching must be True or False, not {wanted!r}")
    if not wanted:
        return Batching(reason="the file does not say batching = True")
    fixed = [
        spec.name
        for spec in (*signature.inputs, *signature.outputs)
        if not spec.shape or spec.shape[0] != -1
    ]
    if fixed:
        raise ConfigError(
            f"batching = True needs -1 for the first size of all tensors: {', '.join(fixed)}"
        )
    return Batching(most_rows=most_rows, reason="the file says so")


def _specs(role: str, value: Any) -> tuple[TensorSpec, ...]:
    if not isinstance(value, dict) or not value:
        raise ConfigError(
            f'{role} must be declared like {role} = {{"name": ("FP32", [-1, 4])}}; '
            "declare both inputs and outputs, or none"
        )
    return tuple(_spec(role, name, told) for name, told in value.items())


def _spec(role: str, name: Any, told: Any) -> TensorSpec:
    try:
        datatype, shape = told
        sizes = tuple(shape)
    except (TypeError, ValueError):
        raise ConfigError(f"{role}[{name!r}] must be (datatype, shape), not {told!r}") from None
    if not isinstance(name, str):
        raise ConfigError(f"{role}: names are text, not {name!r}")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise ConfigError(
            f"{role}[{name!r}]: the datatype is one of {', '.join(DTYPES)}, not {datatype!r}"
        )
    if not all(type(size) is int and size >= -1 for size in sizes):
        raise ConfigError(f"{role}[{name!r}]: a shape is whole numbers, -1 for any: {shape!r}")
    return TensorSpec(name, datatype, sizes)
