"""One loaded YOLO network: pictures in, candidates out, everything learnt once at load.

It hides what differs between exports: number type, fixed or free input size, output layout.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from cnet.errors import CnetError, ConfigError
from cnet.inference.images.pictures import Picture, Size
from cnet.inference.onnx.labels import ModelNotes, read_notes
from cnet.inference.onnx.sessions import Array, ModelSessions, Slot
from cnet.inference.yolo import layouts
from cnet.inference.yolo.candidates import Candidates
from cnet.inference.yolo.layouts import Layout
from cnet.inference.yolo.letterbox import GREY, Letterbox

_LOGGER = logging.getLogger(__name__)
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_DEFAULT_SIDE = 640
_DEFAULT_STRIDE = 32
_LONGEST_SIDE = 8192


class YoloNetwork:
    """A detector in an ONNX file; `run` may be called from several threads at once.

    Loading tries the network on a blank picture, so what is wrong with the file is known before
    the first request. Raises ConfigError with one sentence.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int,
        names: Mapping[int, str] | None = None,
        layout: Layout | None = None,
        device: str = "cpu",
    ) -> None:
        self.sessions = ModelSessions(path, threads=threads, device=device)
        self.notes = read_notes(self.sessions.metadata)
        _check_task(self.notes)
        self.names = dict(self.notes.names if names is None else names)
        self._type = _check_input(self.sessions.inputs)
        self.size, self.stride = _input_size(self.sessions.inputs[0], self.notes)
        self._find_layout(layout)

    @property
    def takes_any_size(self) -> bool:
        """Whether pictures are sent in their own proportions (`stride` is not None)."""
        return self.stride is not None

    def fit(self, original: Size) -> Letterbox:
        """Where a picture of that size is put in the input."""
        if self.stride is None:
            return Letterbox.fit(original, self.size)
        return Letterbox.tight(original, limit=self.size, stride=self.stride)

    def prepare(self, picture: Picture, box: Letterbox) -> Array:
        """The input `[1, 3, H, W]`, RGB, 0-1."""
        blob = cv2.dnn.blobFromImage(box.apply(picture.pixels), 1 / 255, swapRB=True)
        return blob.astype(self._type, copy=False)

    def run(self, blob: Array, *, threads: int) -> Array:
        """The output that holds the detections, as the network gives it."""
        return self._answers(blob, threads=threads)[self._output]

    def read(self, output: Array, confidence: float) -> Candidates:
        """Candidates of at least `confidence` in pixels of the input."""
        return layouts.read(self.layout, output, confidence)

    def describe(self) -> dict[str, Any]:
        """For `/info`."""
        return {
            "layout": self.layout.value,
            "inputs": [slot.describe() for slot in self.sessions.inputs],
            "outputs": [slot.describe() for slot in self.sessions.outputs],
            "input_size": [self.size.width, self.size.height],
            "takes_any_size": self.takes_any_size,
            "labels": [self.names[index] for index in sorted(self.names)],
        }

    def _answers(self, blob: Array, *, threads: int) -> list[Array]:
        answers = self.sessions.run({self.sessions.inputs[0].name: blob}, threads=threads)
        return [np.asarray(answer) for answer in answers]

    def _find_layout(self, asked: Layout | None) -> None:
        answers = self._try_blank(self.size)
        self._output = layouts.pick_output([answer.shape for answer in answers])
        answer = answers[self._output]
        if answer.dtype.kind != "f":
            raise ConfigError(f"the model answers with {answer.dtype}, not with floating point")
        self.layout = asked or layouts.recognise(
            answer.shape,
            size=self.size,
            classes=len(self.names) or None,
            is_end_to_end=self.notes.is_end_to_end,
        )
        if asked is not None:
            _check_asked(asked, answer.shape)
        self._check_names(answer.shape)
        if self.stride is not None:
            self._check_free_size(self.stride)

    def _try_blank(self, size: Size) -> list[Array]:
        blank = np.full((1, 3, size.height, size.width), GREY / 255, self._type)
        started = perf_counter()
        answers = self._answers(blank, threads=self.sessions.threads)
        _LOGGER.info(
            "a blank picture of %d x %d took %.0f ms",
            size.width, size.height, (perf_counter() - started) * 1000,
        )  # fmt: skip
        return answers

    def _check_names(self, shape: tuple[int, ...]) -> None:
        classes = self.layout.classes_of(shape)
        if classes is not None and self.names and len(self.names) != classes:
            raise ConfigError(
                f"the model answers for {classes} classes but {len(self.names)} labels are given"
            )

    def _check_free_size(self, stride: int) -> None:
        """Some exports call height and width free and still work with one size only."""
        oblong = Size(self.size.width, max(stride, self.size.height // 2 // stride * stride))
        try:
            shape = self._try_blank(oblong)[self._output].shape
            if len(shape) == 3 and self.layout is Layout.COLUMNS:
                layouts.recognise(shape, size=oblong, classes=len(self.names) or None)
        except CnetError as error:
            _LOGGER.warning("only square pictures are sent to the model: %s", error.message)
            self.stride = None


def _check_task(notes: ModelNotes) -> None:
    if notes.task not in (None, "detect"):
        raise ConfigError(f"the model's task is {notes.task!r}; only 'detect' is served")


def _check_input(inputs: tuple[Slot, ...]) -> type[np.float32] | type[np.float16]:
    listed = ", ".join(f"{slot.name} {list(slot.shape)} {slot.type}" for slot in inputs)
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ConfigError(f"the model must have one input [1, 3, height, width], not: {listed}")
    batch, channels, _, columns = inputs[0].shape
    if channels != 3 and columns == 3:
        raise ConfigError(
            f"the model takes pictures as [1, height, width, 3] ({listed}); "
            "export it with channels first: [1, 3, height, width]"
        )
    if isinstance(channels, int) and channels != 3:
        raise ConfigError(f"the model takes {channels} channels, not 3: {listed}")
    if isinstance(batch, int) and batch != 1:
        raise ConfigError(
            f"the model takes {batch} pictures at once; export it with batch 1 or a free batch"
        )
    if inputs[0].type not in _TYPES:
        raise ConfigError(f"the model's input must be {' or '.join(_TYPES)}, not {inputs[0].type}")
    return _TYPES[inputs[0].type]  # type: ignore[return-value]


def _input_size(slot: Slot, notes: ModelNotes) -> tuple[Size, int | None]:
    """The input's size (the largest, where it is free) and then also its stride."""
    _, _, height, width = slot.shape
    told_height, told_width = notes.size or (_DEFAULT_SIDE, _DEFAULT_SIDE)
    size = Size(
        width if isinstance(width, int) else told_width,
        height if isinstance(height, int) else told_height,
    )
    if not (1 <= size.width <= _LONGEST_SIDE and 1 <= size.height <= _LONGEST_SIDE):
        raise ConfigError(
            f"the model's input is {size.width} x {size.height} pixels; "
            f"sides from 1 to {_LONGEST_SIDE} are taken"
        )
    if isinstance(width, int) or isinstance(height, int):
        return size, None
    return size, notes.stride or _DEFAULT_STRIDE


def _check_asked(layout: Layout, shape: tuple[int, ...]) -> None:
    is_flat = layout is Layout.END_TO_END_V7
    columns = layout.classes_of(shape) if len(shape) == 3 else None
    fits = len(shape) == (2 if is_flat else 3) and (columns is None or columns >= 1)
    if not fits or (layout is Layout.END_TO_END and shape[2] != 6):
        raise ConfigError(f"the model's output {list(shape)} cannot have the layout {layout}")
