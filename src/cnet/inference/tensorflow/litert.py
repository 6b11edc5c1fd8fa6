"""LiteRT files (.tflite), by its own interpreter; without TensorFlow where that is installed."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnet.errors import ConfigError
from cnet.inference.frameworks.runtime import CalledModel, words
from cnet.inference.runtime import Signature, TensorSpec
from cnet.inference.tensors.datatypes import Array, datatype_of

try:
    from ai_edge_litert import interpreter as litert
except ImportError:
    from tensorflow import lite as litert


def load(path: Path, *, signature: str) -> CalledModel:
    """The model at `path`; ConfigError with one sentence where it cannot be served."""
    try:
        content = path.read_bytes()
        first = _interpreter(content, 1)
        known = first.get_signature_list()
        if known and signature not in known:
            raise ConfigError(
                f"model {path} has no signature {signature!r}; it has: {', '.join(known)}"
            )
        return _LiteRt(content, first, signature if known else None)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"model {path} cannot be loaded: {words(error)}") from error


class _LiteRt:
    """Implements `CalledModel`: each thread has an interpreter, which is not made for several."""

    def __init__(self, content: bytes, first: Any, name: str | None) -> None:
        self._content = content
        self._name = name
        self._thread = threading.local()
        inputs, outputs = _details(first, name)
        self.signature = Signature(
            "litert", _specs(inputs), _specs(outputs), tuple(each[0] for each in outputs)
        )
        self.about: Mapping[str, Any] = {
            "model_type": "tensorflow",
            "format": "litert",
            "served_by": litert.__name__.partition(".")[0],
            "device": "cpu",
        }

    def call(self, inputs: Mapping[str, Array], *, threads: int) -> Mapping[str, Array]:
        """See `CalledModel.call`."""
        runner = self._interpreter(threads)
        wanted, given = _details(runner, self._name)
        is_new = False
        for name, detail in wanted:
            if tuple(detail["shape"]) != inputs[name].shape:
                runner.resize_tensor_input(detail["index"], inputs[name].shape)
                is_new = True
        if is_new:
            runner.allocate_tensors()
        for name, detail in wanted:
            runner.set_tensor(detail["index"], inputs[name])
        runner.invoke()
        return {name: np.array(runner.get_tensor(detail["index"])) for name, detail in given}

    def _interpreter(self, threads: int) -> Any:
        made = self._thread.__dict__.setdefault("made", {})
        if threads not in made:
            made[threads] = _interpreter(self._content, threads)
            made[threads].allocate_tensors()
        return made[threads]


def _interpreter(content: bytes, threads: int) -> Any:
    return litert.Interpreter(model_content=content, num_threads=threads)


def _details(runner: Any, name: str | None) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """Names and details of inputs and outputs, in order."""
    if name is None:
        return (
            [(each["name"], each) for each in runner.get_input_details()],
            [(each["name"], each) for each in runner.get_output_details()],
        )
    signature = runner.get_signature_runner(name)
    return (
        list(signature.get_input_details().items()),
        list(signature.get_output_details().items()),
    )


def _specs(details: Sequence[tuple[str, Any]]) -> tuple[TensorSpec, ...]:
    found = []
    for name, detail in details:
        datatype = datatype_of(np.dtype(detail["dtype"]))
        if datatype is None or datatype == "BYTES":
            raise ConfigError(f"{name} of the model is {detail['dtype']}, which is not served")
        sizes = detail.get("shape_signature")
        shape = detail["shape"] if sizes is None or not len(sizes) else sizes
        found.append(TensorSpec(name, datatype, tuple(int(size) for size in shape)))
    return tuple(found)
