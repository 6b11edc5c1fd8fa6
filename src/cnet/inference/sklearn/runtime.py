"""The built-in runtime `sklearn`: by ONNX Runtime where that is surely the same, else by itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from cnet.errors import CnetError
from cnet.inference.runtime import PredictRequest, Signature
from cnet.inference.sklearn import files
from cnet.inference.sklearn.about import About
from cnet.inference.sklearn.cache import ConversionCache
from cnet.inference.sklearn.converted import INPUT, TOLERANCE, Conversion, ConvertedModel
from cnet.inference.sklearn.originals import Original
from cnet.inference.tensors import plain
from cnet.inference.tensors.batching import MOST_ROWS, find_out, told
from cnet.inference.tensors.datatypes import Array
from cnet.inference.tensors.signatures import describe

VERSION = "1.0"
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Found:
    """How a file is served: `converted`, or by scikit-learn for `reason`."""

    about: About
    converted: ConvertedModel | None
    reason: str


class SklearnRuntime:
    """A loaded estimator. All methods may be called from several threads at once."""

    has_plain_predict: Literal[True] = True

    def __init__(
        self, original: Original, found: _Found, *, threads: int, max_batch: int = 1
    ) -> None:
        self._original = original
        self._about = found.about
        self._converted = found.converted
        self._reason = found.reason
        self._threads = threads
        self.batching = find_out(self.signature, self._infer_all, most_rows=max_batch)

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        threads: int = 1,
        trusted: Sequence[str] = (),
        allow_joblib: bool = False,
        convert: bool = True,
        max_batch: int = MOST_ROWS,
        cache_dir: Path | None = None,
    ) -> SklearnRuntime:
        """Load the file at `path` and try it.

        `trusted` names types in a skops file beyond those that skops trusts. With `convert` it is
        served by ONNX Runtime where the answers were seen to be the same; `cache_dir` keeps what
        was found out. Raises ConfigError with one sentence where the file cannot be served.
        """
        path = Path(path)
        form = files.form_of(path, allow_joblib=allow_joblib)
        original = Original(path, form, trusted=trusted)
        if convert:
            found = _find(original, ConversionCache(cache_dir), trusted, threads)
        else:
            found = _Found(original.about(), None, "it is switched off")
        return cls(original, found, threads=threads, max_batch=max_batch)

    @property
    def signature(self) -> Signature:
        """One input, and an output for each method."""
        return self._about.signature

    def health(self) -> Mapping[str, Any]:
        """Which model answers."""
        return {"model": str(self._original.path)}

    def info(self) -> Mapping[str, Any]:
        """The estimator, what it takes and gives, and the names of its columns and classes."""
        return {
            "model_type": "sklearn",
            "model_path": str(self._original.path),
            "version": VERSION,
            "loaded": True,
            "threads": self._threads,
            "format": self._original.form,
            "estimator": self._about.name,
            "served_by": f"scikit-learn {self._about.library}"
            if self._converted is None
            else f"onnxruntime {version('onnxruntime')}",
            "conversion": self._conversion(),
            "inputs": [describe(spec) for spec in self.signature.inputs],
            "outputs": [describe(spec) for spec in self.signature.outputs],
            "feature_names": self._about.feature_names,
            "labels": self._about.labels,
            "batching": told(self.batching),
        }

    def predict(self, request: PredictRequest, *, threads: int) -> Mapping[str, Any]:
        """Outputs by name; see `plain` for the form."""
        return plain.answer(self, request, threads=threads)

    def infer(
        self, inputs: Mapping[str, Array], *, outputs: Sequence[str], threads: int
    ) -> Mapping[str, Array]:
        """See `ServesTensors.infer`."""
        if self._converted is not None:
            found = self._converted.infer(inputs[INPUT], outputs, threads=threads)
            if found is not None:
                return found
        return self._original.get().infer(inputs, outputs=outputs)

    def unload(self) -> None:
        """Nothing to close: the estimator goes with the object."""

    def _infer_all(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        names = [spec.name for spec in self.signature.outputs]
        if self._converted is not None:
            names = [name for name in names if name in self._converted.conversion.outputs]
        return self.infer(inputs, outputs=names, threads=self._threads)

    def _conversion(self) -> Mapping[str, Any]:
        if self._converted is None:
            return {"used": False, "reason": self._reason}
        known = self._converted.conversion
        return {
            "used": True,
            "reason": self._reason,
            "outputs": list(known.outputs),
            "precision": known.datatype,
            "inputs_compared": known.rows,
            "tolerance": TOLERANCE,
        }


def _find(
    original: Original, cache: ConversionCache, trusted: Sequence[str], threads: int
) -> _Found:
    key = cache.key(original.path, trusted=trusted)
    kept = cache.find(key)
    if kept is not None:
        try:
            conversion = Conversion.from_json(kept.about["conversion"])
            about = About.from_json(kept.about["about"])
            converted = ConvertedModel(
                kept.content, conversion, path=original.path, threads=threads
            )
        except (CnetError, KeyError, TypeError, ValueError) as error:
            _LOGGER.warning("the kept conversion cannot be used: %s", error)
        else:
            return _Found(about, converted, "compared when it was loaded first")
    about = original.about()
    # skl2onnx takes a second to import, which a start with a kept conversion does not spend.
    from cnet.inference.sklearn.conversion import NotConvertibleError, convert

    started = perf_counter()
    try:
        made = convert(original.get(), original.path, threads=threads)
    except NotConvertibleError as error:
        _LOGGER.info("served by scikit-learn: %s", error)
        return _Found(about, None, str(error))
    except Exception as error:
        # A library that stumbles over the estimator must not keep it from being served.
        _LOGGER.exception("the conversion failed")
        return _Found(about, None, f"the conversion failed: {files.words(error)}")
    _LOGGER.info("converted in %.0f ms", (perf_counter() - started) * 1000)
    told = {"about": about.as_json(), "conversion": made.model.conversion.as_json()}
    cache.keep(key, made.content, told)
    return _Found(about, made.model, "compared when it was loaded")
