"""A file whose `predict` takes and gives named arrays, as it declares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cnet.errors import ConfigError, ExecutionError
from cnet.inference.custom import declared
from cnet.inference.custom.files import UserModel
from cnet.inference.custom.runtime import CustomRuntime
from cnet.inference.runtime import PredictRequest, Signature
from cnet.inference.tensors import plain
from cnet.inference.tensors.batching import told
from cnet.inference.tensors.datatypes import Array, conform
from cnet.inference.tensors.signatures import describe


class TensorRuntime(CustomRuntime):
    """Implements `ServesTensors`; raises ConfigError where the declarations are no use."""

    has_plain_predict: Literal[True] = True

    def __init__(self, model: UserModel, *, threads: int, max_batch: int = 1) -> None:
        super().__init__(model, threads=threads)
        found = declared.signature(model.about)
        if found is None:
            raise ConfigError(f"{model.path} declares neither inputs nor outputs")
        self.signature: Signature = found
        self.batching = declared.batching(model.about, found, most_rows=max_batch)

    def info(self) -> Mapping[str, Any]:
        """The file, and the tensors that it declares."""
        return {
            **super().info(),
            "inputs": [describe(spec) for spec in self.signature.inputs],
            "outputs": [describe(spec) for spec in self.signature.outputs],
            "batching": told(self.batching),
        }

    def predict(self, request: PredictRequest, *, threads: int) -> Mapping[str, Any]:
        """Outputs by name; see `plain` for the form."""
        return plain.answer(self, request, threads=threads)

    def infer(
        self, inputs: Mapping[str, Array], *, outputs: Sequence[str], threads: int
    ) -> Mapping[str, Array]:
        """The file's `predict` with arrays of its own, of which it returns a dict of arrays."""
        answer = self.call({name: array.copy() for name, array in inputs.items()})
        if not isinstance(answer, Mapping) or not set(outputs) <= set(answer):
            given = ", ".join(map(str, answer)) if isinstance(answer, Mapping) else type(answer)
            raise ExecutionError(
                f"predict must return a dict with {', '.join(outputs)}; it returned {given}",
                code="model_failed",
            )
        return {name: conform(answer[name], name=name) for name in outputs}
