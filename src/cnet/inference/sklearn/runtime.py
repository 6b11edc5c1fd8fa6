"""The built-in runtime `sklearn`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import sklearn

from cnet.inference.runtime import PredictRequest, Signature
from cnet.inference.sklearn import files
from cnet.inference.sklearn.estimators import Estimator
from cnet.inference.tensors import plain
from cnet.inference.tensors.batching import MOST_ROWS, find_out, told
from cnet.inference.tensors.datatypes import Array
from cnet.inference.tensors.signatures import describe

VERSION = "1.0"


class SklearnRuntime:
    """A loaded estimator. All methods may be called from several threads at once."""

    has_plain_predict: Literal[True] = True

    def __init__(
        self, path: Path, loaded: files.Loaded, *, threads: int, max_batch: int = 1
    ) -> None:
        self._path = path
        self._form = loaded.form
        self._threads = threads
        self._estimator = Estimator(loaded.estimator, form=loaded.form)
        self.batching = find_out(self.signature, self._infer_all, most_rows=max_batch)

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        threads: int = 1,
        trusted: Sequence[str] = (),
        allow_joblib: bool = False,
        max_batch: int = MOST_ROWS,
    ) -> SklearnRuntime:
        """Load the file at `path` and try it once.

        `trusted` names types in a skops file beyond those that skops trusts. Raises ConfigError
        with one sentence where the file cannot be served.
        """
        # Columns are told by their order here; /info has the names.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        loaded = files.load(Path(path), trusted=trusted, allow_joblib=allow_joblib)
        return cls(Path(path), loaded, threads=threads, max_batch=max_batch)

    @property
    def signature(self) -> Signature:
        """One input, and an output for each method."""
        return self._estimator.signature

    def health(self) -> Mapping[str, Any]:
        """Which model answers."""
        return {"model": str(self._path)}

    def info(self) -> Mapping[str, Any]:
        """The estimator, what it takes and gives, and the names of its columns and classes."""
        return {
            "model_type": "sklearn",
            "model_path": str(self._path),
            "version": VERSION,
            "loaded": True,
            "threads": self._threads,
            "format": self._form,
            "estimator": self._estimator.name,
            "served_by": f"scikit-learn {sklearn.__version__}",
            "inputs": [describe(spec) for spec in self.signature.inputs],
            "outputs": [describe(spec) for spec in self.signature.outputs],
            "feature_names": self._estimator.feature_names,
            "labels": self._estimator.labels,
            "batching": told(self.batching),
        }

    def predict(self, request: PredictRequest, *, threads: int) -> Mapping[str, Any]:
        """Outputs by name; see `plain` for the form."""
        return plain.answer(self, request, threads=threads)

    def infer(
        self, inputs: Mapping[str, Array], *, outputs: Sequence[str], threads: int
    ) -> Mapping[str, Array]:
        """See `ServesTensors.infer`; each call keeps one CPU busy."""
        return self._estimator.infer(inputs, outputs=outputs)

    def _infer_all(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        names = [spec.name for spec in self.signature.outputs]
        return self._estimator.infer(inputs, outputs=names)

    def unload(self) -> None:
        """Nothing to close: the estimator goes with the object."""
