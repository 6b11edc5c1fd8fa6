"""The built-in runtime `onnx`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from cnet.errors import ExecutionError
from cnet.inference.onnx.labels import from_list, read_notes
from cnet.inference.onnx.sessions import ModelSessions, Slot
from cnet.inference.onnx.tensors import OnnxTensors, datatype_of, named_columns
from cnet.inference.runtime import PredictRequest, Signature
from cnet.inference.tensors import plain
from cnet.inference.tensors.batching import MOST_ROWS, find_out, told
from cnet.inference.tensors.datatypes import Array

VERSION = "1.0"
_LOGGER = logging.getLogger(__name__)


class OnnxRuntime:
    """A loaded model. All methods may be called from several threads at once."""

    has_plain_predict: Literal[True] = True

    def __init__(
        self, sessions: ModelSessions, labels: Mapping[int, str], *, max_batch: int = 1
    ) -> None:
        self._sessions = sessions
        self._tensors = OnnxTensors(sessions)
        found = self._try()
        self.batching = find_out(self.signature, self._infer_all, most_rows=max_batch)
        self._labels = dict(labels) or dict(enumerate(found))

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        threads: int = 1,
        labels: str | None = None,
        max_batch: int = MOST_ROWS,
        device: str = "auto",
    ) -> OnnxRuntime:
        """Load the ONNX file at `path` for `threads` CPUs and try it.

        `labels` ("a,b,c") replaces the names in the file; at most `max_batch` rows of several
        requests go together. Raises ConfigError with one sentence
        where the file cannot be served, or not on the `device` (`auto`, `cpu`, `cuda:N`).
        """
        sessions = ModelSessions(Path(path), threads=threads, device=device)
        names = read_notes(sessions.metadata).names if labels is None else from_list(labels)
        return cls(sessions, names, max_batch=max_batch)

    @property
    def signature(self) -> Signature:
        """The inputs and outputs that the file declares."""
        return self._tensors.signature

    def health(self) -> Mapping[str, Any]:
        """Which model answers."""
        return {"model": str(self._sessions.path)}

    def info(self) -> Mapping[str, Any]:
        """The model, its inputs and outputs, and the names of its classes where it has some."""
        return {
            "model_type": "onnx",
            "model_path": str(self._sessions.path),
            "version": VERSION,
            "loaded": True,
            "threads": self._sessions.threads,
            "device": self._sessions.device,
            "inputs": [_describe(slot) for slot in self._sessions.inputs],
            "outputs": [_describe(slot) for slot in self._sessions.outputs],
            "labels": [self._labels[index] for index in sorted(self._labels)],
            "batching": told(self.batching),
        }

    def predict(self, request: PredictRequest, *, threads: int) -> Mapping[str, Any]:
        """Outputs by name; see `plain` for the form."""
        return plain.answer(self, request, threads=threads)

    def infer(
        self, inputs: Mapping[str, Array], *, outputs: Sequence[str], threads: int
    ) -> Mapping[str, Array]:
        """See `ServesTensors.infer`."""
        return self._tensors.infer(inputs, outputs=outputs, threads=threads)

    def _infer_all(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        names = self.signature.default_outputs
        return self._tensors.infer(inputs, outputs=names, threads=self._sessions.threads)

    def unload(self) -> None:
        """Nothing to close: the sessions go with the object."""

    def _try(self) -> Sequence[str]:
        """Run once, so that the first request finds everything warm; the names of classes seen."""
        started = perf_counter()
        try:
            answers = self._tensors.try_zeros()
        except ExecutionError as error:
            _LOGGER.warning("not tried before the first request: %s", error.message)
            return ()
        _LOGGER.info("zeros took %.0f ms", (perf_counter() - started) * 1000)
        return named_columns(answers)


def _describe(slot: Slot) -> dict[str, object]:
    return {**slot.describe(), "datatype": datatype_of(slot) or "FP32"}
