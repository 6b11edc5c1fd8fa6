"""Any ONNX model as named arrays in, named arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnet.errors import ConfigError, ExecutionError, SpecError
from cnet.inference.onnx.sessions import ModelSessions, Slot
from cnet.inference.runtime import Signature, TensorSpec
from cnet.inference.tensors.datatypes import DTYPES, Array, as_text

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
# What skl2onnx gives for class probabilities unless told otherwise: one table of names a row.
_ROWS_OF_NAMED_NUMBERS = ("seq(map(int64,tensor(float)))", "seq(map(string,tensor(float)))")


class OnnxTensors:
    """`ServesTensors` over the sessions of a model.

    Raises ConfigError where an input or output is of a type that no client could send or read.
    """

    def __init__(self, sessions: ModelSessions) -> None:
        self._sessions = sessions
        outputs = tuple(_output(slot) for slot in sessions.outputs)
        self.signature = Signature(
            platform="onnxruntime_onnx",
            inputs=tuple(_tensor(slot, "input") for slot in sessions.inputs),
            outputs=outputs,
            default_outputs=tuple(spec.name for spec in outputs),
        )
        # Only where everything about the inputs is fixed can a failure be the model's own fault.
        self._is_fixed = all(
            spec.shape is not None and -1 not in spec.shape and spec.datatype.startswith("FP")
            for spec in self.signature.inputs
        )

    def infer(
        self, inputs: Mapping[str, Array], *, outputs: Sequence[str], threads: int
    ) -> dict[str, Array]:
        """See `ServesTensors.infer`."""
        feeds = {
            name: as_text(array, name=name) if array.dtype == object else array
            for name, array in inputs.items()
        }
        try:
            answers = self._sessions.run(feeds, outputs=list(outputs), threads=threads)
        except ExecutionError as error:
            if self._is_fixed:
                raise
            raise SpecError(error.message, field="inputs", code=error.code) from error
        return {
            name: _rows(answer)[0] if isinstance(answer, list) else np.asarray(answer)
            for name, answer in zip(outputs, answers, strict=True)
        }

    def try_zeros(self) -> list[Any]:
        """What ONNX Runtime answers to zeros and empty texts, of size 1 where a size is free.

        Raises ExecutionError, which need not mean anything: not every model takes zeros.
        """
        feeds = {
            spec.name: _zeros(spec.datatype, spec.shape or ()) for spec in self.signature.inputs
        }
        return self._sessions.run(feeds, threads=self._sessions.threads)


def named_columns(answers: Sequence[Any]) -> list[str]:
    """The names of classes, where one of the answers carries them."""
    for answer in answers:
        if isinstance(answer, list):
            return [str(name) for name in _rows(answer)[1]]
    return []


def datatype_of(slot: Slot) -> str | None:
    """The datatype of the Open Inference Protocol; None for rows of named numbers."""
    return _DATATYPES.get(slot.type)


def _tensor(slot: Slot, role: str) -> TensorSpec:
    datatype = _DATATYPES.get(slot.type)
    if datatype is None:
        raise ConfigError(
            f"{role} {slot.name} of the model is {slot.type}; served are: {', '.join(_DATATYPES)}"
        )
    return TensorSpec(slot.name, datatype, _shape(slot))


def _output(slot: Slot) -> TensorSpec:
    if slot.type in _ROWS_OF_NAMED_NUMBERS:
        return TensorSpec(slot.name, "FP32", (-1, -1))
    return _tensor(slot, "output")


def _shape(slot: Slot) -> tuple[int, ...] | None:
    """ONNX Runtime tells the same, nothing, of a single number and of any shape whatever."""
    if not slot.shape:
        return None
    return tuple(size if isinstance(size, int) and size >= 0 else -1 for size in slot.shape)


def _rows(answer: list[dict[Any, float]]) -> tuple[Array, list[Any]]:
    """Rows of named numbers as an array, and the names of its columns."""
    names = list(answer[0]) if answer else []
    values = [[row[name] for name in names] for row in answer]
    return np.array(values, np.float32).reshape(len(answer), len(names)), names


def _zeros(datatype: str, shape: tuple[int, ...]) -> Array:
    sizes = tuple(1 if size == -1 else size for size in shape)
    if datatype == "BYTES":
        return np.full(sizes, "", object)
    return np.zeros(sizes, DTYPES[datatype])
