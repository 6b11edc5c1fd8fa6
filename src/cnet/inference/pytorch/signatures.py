"""What a model of PyTorch tells of its tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cnet.errors import ConfigError
from cnet.inference.custom.declared import Tensors
from cnet.inference.runtime import Signature, TensorSpec
from cnet.inference.tensors.datatypes import NUMBERS

_DATATYPES = {
    torch.bool: "BOOL", torch.uint8: "UINT8", torch.int8: "INT8", torch.int16: "INT16",
    torch.int32: "INT32", torch.int64: "INT64", torch.float16: "FP16", torch.float32: "FP32",
    torch.float64: "FP64", torch.bfloat16: "FP32",
}  # fmt: skip
_ANY = ("BOOL", *(name for name in NUMBERS if name not in {"FP32", "UINT16", "UINT32", "UINT64"}))


def signature(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Signature:
    """Of a model of PyTorch."""
    return Signature("pytorch", tuple(inputs), tuple(outputs), tuple(spec.name for spec in outputs))


def argument_names(module: Any) -> list[str]:
    """The parameters of a TorchScript module that must be given."""
    arguments = module.forward.schema.arguments[1:]
    return [each.name for each in arguments if not each.has_default_value()]


def of_script(module: Any, told: Tensors, path: Path) -> Signature:
    """TorchScript knows names and no shapes; ConfigError where not even its outputs have names."""
    inputs = told.inputs or tuple(
        TensorSpec(name, "FP32", None, _ANY) for name in argument_names(module)
    )
    outputs = told.outputs or _script_outputs(module, path)
    return signature(inputs, outputs)


def of_export(program: Any, told: Tensors) -> Signature:
    """An archive of torch.export knows all about its tensors."""
    nodes = {node.name: node for node in program.graph.nodes}
    inputs = [
        _spec(keyword or node, nodes[node].meta["val"])
        for keyword, node in zip(
            export_keywords(program), program.graph_signature.user_inputs, strict=True
        )
    ]
    values = [nodes[name].meta["val"] for name in program.graph_signature.user_outputs]
    names = _output_names(program, len(values))
    outputs = [_spec(name, value) for name, value in zip(names, values, strict=True)]
    return signature(told.inputs or inputs, told.outputs or outputs)


def _script_outputs(module: Any, path: Path) -> tuple[TensorSpec, ...]:
    (returned,) = module.forward.schema.returns
    kind = str(returned.type)
    if kind == "Tensor":
        return (TensorSpec("output", "FP32", None),)
    if returned.type.kind() == "TupleType":
        count = len(returned.type.elements())
        return tuple(TensorSpec(f"output_{index}", "FP32", None) for index in range(count))
    raise ConfigError(
        f"the model in {path} returns {kind}, which does not tell the names of its outputs: "
        'declare them with --outputs \'{"name": ["FP32", [-1, 3]]}\' (config.outputs)'
    )


def export_keywords(program: Any) -> list[str | None]:
    """How an archive wants its inputs: by their names, or (None) in their order."""
    _args, kwargs = program.call_spec.in_spec.children_specs
    named = list(kwargs.context or [])
    return [*[None] * (len(program.graph_signature.user_inputs) - len(named)), *named]


def _output_names(program: Any, count: int) -> list[str]:
    spec = program.call_spec.out_spec
    if spec.type is dict:
        return [str(name) for name in spec.context]
    return ["output"] if count == 1 else [f"output_{index}" for index in range(count)]


def _spec(name: str, value: Any) -> TensorSpec:
    if not isinstance(value, torch.Tensor) or value.dtype not in _DATATYPES:
        kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
        raise ConfigError(f"{name} of the model is {kind}, which no client could send or read")
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return TensorSpec(name, _DATATYPES[value.dtype], shape)
