"""ONNX Runtime sessions over one model file, the only place that speaks to ONNX Runtime.

A session's number of threads is fixed when it is made. One with all threads answers a request
that is alone; one with a single thread, made when first needed, answers requests beside each
other. Each holds its own copy of the weights.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cnet.errors import ConfigError, ExecutionError

# Before the import, which begins to collect: what users run is nobody else's business.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from cnet.inference.onnx import devices

_SILENT = 4  # severity "fatal": errors reach us as exceptions, not as lines on stderr
_LONGEST_SENTENCE = 300  # characters of ONNX Runtime's own words

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Slot:
    """An input or output as the file declares it; a size not fixed is a name or None."""

    name: str
    shape: tuple[int | str | None, ...]
    type: str

    def describe(self) -> dict[str, object]:
        """For `/info`."""
        return {"name": self.name, "shape": list(self.shape), "type": self.type}


class ModelSessions:
    """The sessions of one model; `run` may be called from several threads at once.

    `content` is the model where it is not the file at `path` itself. `device` is `auto`, `cpu` or
    `cuda:N`; the attribute says what has come of it. Raises ConfigError when the file is missing or
    is no model that ONNX Runtime can execute, or there is no such GPU.
    Weights outside the model's folder are refused by ONNX Runtime itself.
    """

    def __init__(
        self, path: Path, *, threads: int, content: bytes | None = None, device: str = devices.CPU
    ) -> None:
        self.path = path
        self.threads = threads
        self._content = content
        if content is None:
            _check_file(path)
        self.device = devices.choose(device, ort.get_available_providers(), os.environ)
        self._wide = self._first_session(required=device == self.device)
        # On a GPU threads of the CPU make no difference.
        self._narrow = self._wide if threads == 1 or self.device != devices.CPU else None
        self._opening = threading.Lock()
        try:
            self.inputs = tuple(_slots(self._wide.get_inputs()))
            self.outputs = tuple(_slots(self._wide.get_outputs()))
            self.metadata = dict(self._wide.get_modelmeta().custom_metadata_map)
        except Exception as error:  # names that are not UTF-8, types ONNX Runtime has no word for
            raise ConfigError(f"model file {path} cannot be read: {_words(error)}") from error

    def _first_session(self, *, required: bool) -> ort.InferenceSession:
        """On the device; where that was only hoped for, on the CPU if it must be."""
        session = _open_session(self.path, self.threads, self._content, self.device)
        if self.device == devices.CPU or devices.CUDA_PROVIDER in session.get_providers():
            return session
        if required:
            raise devices.no_cuda(self.device, "its libraries or the driver cannot be loaded")
        self.device = devices.CPU
        return session

    def run(
        self,
        feeds: Mapping[str, Array],
        *,
        threads: int,
        outputs: Sequence[str] | None = None,
    ) -> list[Any]:
        """The `outputs` asked for (default: all) in order, on at most `threads` threads.

        Raises ExecutionError (`model_failed`) when the model cannot take these inputs.
        """
        session = self._wide if threads >= self.threads else self._narrow_session()
        try:
            answers: list[Any] = session.run(outputs, dict(feeds))
        except Exception as error:
            shapes = ", ".join(f"{name} {list(feed.shape)}" for name, feed in feeds.items())
            raise ExecutionError(
                f"the model fails on inputs of these shapes: {shapes}: {_words(error)}",
                code="model_failed",
            ) from error
        return answers

    def _narrow_session(self) -> ort.InferenceSession:
        with self._opening:
            if self._narrow is None:
                self._narrow = _open_session(self.path, 1, self._content, self.device)
            return self._narrow


def _check_file(path: Path) -> None:
    if not path.exists():
        raise ConfigError(f"model file {path} does not exist")
    if not path.is_file():
        raise ConfigError(f"model file {path} is no regular file")
    if path.stat().st_size == 0:
        raise ConfigError(f"model file {path} is empty")


def _open_session(
    path: Path, threads: int, content: bytes | None, device: str
) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    # Spinning threads take the CPU from other services of the node: beside one busy process a run
    # took twice as long with it (44 ms instead of 24); on an idle machine it saves a tenth.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A service is idle most of the time; the arena would hold the largest run's memory for ever.
    options.enable_cpu_mem_arena = False
    try:
        return ort.InferenceSession(
            path if content is None else content,
            options,
            providers=devices.providers(device),
            enable_fallback=0,
        )
    except Exception as error:
        raise ConfigError(f"model file {path} cannot be loaded: {_words(error)}") from error


def _slots(declared: list[Any]) -> list[Slot]:
    return [Slot(slot.name, tuple(slot.shape), slot.type) for slot in declared]


def _words(error: Exception) -> str:
    """ONNX Runtime's message on one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST_SENTENCE else f"{text[:_LONGEST_SENTENCE]}…"
