"""The built-in runtime `custom`, with tensors where the file declares them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

from cnet.errors import CnetError, ExecutionError, SpecError
from cnet.inference.bodies import request_fields
from cnet.inference.custom import files
from cnet.inference.custom.files import UserModel
from cnet.inference.runtime import ModelRuntime, PredictRequest

VERSION = "1.0"
_LOGGER = logging.getLogger(__name__)


def load(
    path: Path, *, class_name: str | None = None, threads: int = 1, max_batch: int = 1
) -> ModelRuntime:
    """Run the file at `path` and its `load`; ConfigError with one sentence where that fails."""
    path = path.absolute()
    model = files.load(path, class_name)
    if any(hasattr(model.about, name) for name in ("inputs", "outputs")):
        # It brings NumPy, which other files may do without.
        from cnet.inference.custom.tensors import TensorRuntime

        return TensorRuntime(model, threads=threads, max_batch=max_batch)
    return CustomRuntime(model, threads=threads)


class CustomRuntime:
    """A file that takes and gives whatever JSON can carry.

    `predict` is called by one thread at a time unless the file says `concurrent = True`.
    """

    def __init__(self, model: UserModel, *, threads: int) -> None:
        self._model = model
        self._threads = threads
        self._is_concurrent = bool(getattr(model.about, "concurrent", False))
        self._turn = nullcontext() if self._is_concurrent else threading.Lock()

    def health(self) -> Mapping[str, Any]:
        """Which file answers."""
        return {"model": str(self._model.path)}

    def info(self) -> Mapping[str, Any]:
        """The file and what it says of itself."""
        return {
            "model_type": "custom",
            "model_path": str(self._model.path),
            "version": str(getattr(self._model.about, "version", VERSION)),
            "loaded": True,
            "threads": self._threads if self._is_concurrent else 1,
            "labels": [str(label) for label in getattr(self._model.about, "labels", ())],
        }

    def predict(self, request: PredictRequest, *, threads: int) -> Mapping[str, Any]:
        """`{"inputs": …}` to the file's `predict`, what it returns as `{"outputs": …}`."""
        fields = request_fields(request, ("inputs",))
        if "inputs" not in fields:
            raise SpecError("inputs is missing: what predict is called with", field="inputs")
        started = perf_counter()
        outputs = self.call(fields["inputs"])
        return {
            "outputs": outputs,
            "timings_ms": {"inference": round((perf_counter() - started) * 1000, 3)},
        }

    def request_bodies(self) -> Mapping[str, Mapping[str, Any]]:
        """See `DescribesRequests`."""
        return {
            "application/json": {
                "type": "object",
                "properties": {"inputs": {}},
                "required": ["inputs"],
                "additionalProperties": False,
            }
        }

    def query_parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """None."""
        return {}

    def call(self, inputs: Any) -> Any:
        """The file's `predict`.

        A ValueError of it is about the input (SpecError); anything else is its own failure.
        """
        try:
            with self._turn:
                return self._model.predict(inputs)
        except CnetError:
            raise
        except ValueError as error:
            _LOGGER.info("predict refuses an input", exc_info=True)
            raise SpecError(self._words(error), field="inputs", code="model_failed") from error
        except (Exception, SystemExit) as error:
            raise ExecutionError(self._words(error), code="model_failed") from error

    def unload(self) -> None:
        """The file's `unload`, if it has one."""
        try:
            self._model.unload()
        except (Exception, SystemExit):
            _LOGGER.exception("unload of %s failed", self._model.path)

    def _words(self, error: BaseException) -> str:
        return files.last_line(error, self._model.path)
