"""A runtime around anything that is called with named arrays and answers with named arrays."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Protocol

from cnet.errors import CnetError, ExecutionError, SpecError
from cnet.inference.onnx.labels import from_list
from cnet.inference.runtime import PredictRequest, Signature
from cnet.inference.tensors import plain
from cnet.inference.tensors.batching import find_out, told
from cnet.inference.tensors.datatypes import Array
from cnet.inference.tensors.signatures import describe

VERSION = "1.0"
_LONGEST_SENTENCE = 300
_LOGGER = logging.getLogger(__name__)


class CalledModel(Protocol):
    """A loaded model of a framework. `call` may come from several threads at once."""

    @property
    def signature(self) -> Signature:
        """What it takes and gives; never changes."""
        ...

    @property
    def about(self) -> Mapping[str, Any]:
        """For `/info`: `model_type`, `format`, `served_by`, `device`."""
        ...

    def call(self, inputs: Mapping[str, Array], *, threads: int) -> Mapping[str, Array]:
        """All outputs. Whatever it raises is its failure on these inputs."""
        ...


class FrameworkRuntime:
    """Implements `ServesBatches` over a `CalledModel` from `path`."""

    has_plain_predict: Literal[True] = True

    def __init__(
        self, model: CalledModel, path: Path, *, threads: int, max_batch: int, labels: str | None
    ) -> None:
        self._model = model
        self._path = path
        self._threads = threads
        self._labels = [] if labels is None else list(from_list(labels).values())
        # Only where everything about the inputs is fixed can a failure be the model's own fault.
        self._is_fixed = all(
            spec.shape is not None and -1 not in spec.shape for spec in model.signature.inputs
        )
        started = perf_counter()
        self.batching = find_out(self.signature, self._infer_all, most_rows=max_batch)
        _LOGGER.info("tried in %.0f ms", (perf_counter() - started) * 1000)

    @property
    def signature(self) -> Signature:
        """See `ServesTensors.signature`."""
        return self._model.signature

    def health(self) -> Mapping[str, Any]:
        """Which model answers."""
        return {"model": str(self._path)}

    def info(self) -> Mapping[str, Any]:
        """The model, its tensors, and where it runs."""
        return {
            "model_path": str(self._path),
            "version": VERSION,
            "loaded": True,
            "threads": self._threads,
            **self._model.about,
            "inputs": [describe(spec) for spec in self.signature.inputs],
            "outputs": [describe(spec) for spec in self.signature.outputs],
            "labels": self._labels,
            "batching": told(self.batching),
        }

    def predict(self, request: PredictRequest, *, threads: int) -> Mapping[str, Any]:
        """Outputs by name; see `plain` for the form."""
        return plain.answer(self, request, threads=threads)

    def infer(
        self, inputs: Mapping[str, Array], *, outputs: Sequence[str], threads: int
    ) -> Mapping[str, Array]:
        """See `ServesTensors.infer`."""
        try:
            answers = self._model.call(inputs, threads=threads)
        except CnetError:
            raise
        except Exception as error:
            sentence = f"the model fails on this input: {words(error)}"
            if self._is_fixed:
                raise ExecutionError(sentence, code="model_failed") from error
            _LOGGER.info("%s", sentence, exc_info=True)
            raise SpecError(sentence, field="inputs", code="model_failed") from error
        missing = [name for name in outputs if name not in answers]
        if missing:
            raise ExecutionError(
                f"the model gave no output {', '.join(missing)}, but {', '.join(answers)}",
                code="model_failed",
            )
        return {name: answers[name] for name in outputs}

    def unload(self) -> None:
        """Nothing to close: the model goes with the object."""

    def _infer_all(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        names = [spec.name for spec in self.signature.outputs]
        return self.infer(inputs, outputs=names, threads=self._threads)


def words(error: BaseException) -> str:
    """An error of a framework on one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _LONGEST_SENTENCE else f"{text[:_LONGEST_SENTENCE]}…"
