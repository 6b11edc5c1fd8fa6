"""The built-in runtime `yolo`: a request's picture through the network to labelled boxes.

`YoloRuntime.load(path).detect(image)` is also the way for programs that have pixels already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from cnet.inference.fields import Number, Parameter
from cnet.inference.images import forms, pictures
from cnet.inference.images.boxes import to_pixels
from cnet.inference.images.pictures import Picture, PixelArray, Size
from cnet.inference.onnx.labels import from_list, label_of
from cnet.inference.onnx.tensors import OnnxTensors
from cnet.inference.runtime import PredictRequest, Signature
from cnet.inference.tensors.datatypes import Array
from cnet.inference.yolo.candidates import MOST_DETECTIONS, Candidates, best_first, suppress
from cnet.inference.yolo.layouts import Layout
from cnet.inference.yolo.letterbox import Letterbox
from cnet.inference.yolo.network import YoloNetwork

VERSION = "1.0"
_DEFAULT_MAX_PIXELS = 50_000_000


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing found. `bbox` = x, y, width, height in pixels of the upright original, inside it.

    `confidence` is 0-1.
    """

    label: str
    class_id: int
    confidence: float
    bbox: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """At least `confidence`, and no more overlap (IoU) with a better box than `iou`."""

    confidence: float
    iou: float


class YoloRuntime:
    """A loaded detector. All methods may be called from several threads at once."""

    def __init__(self, network: YoloNetwork, *, defaults: Thresholds, max_pixels: int) -> None:
        self._network = network
        self._tensors = OnnxTensors(network.sessions)
        self._defaults = defaults
        self._max_pixels = max_pixels
        self.parameters: tuple[Parameter, ...] = (
            Number("confidence", defaults.confidence, 0, 1, zero_is_default=True),
            Number("iou_threshold", defaults.iou, 0, 1, zero_is_default=True),
        )

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        threads: int = 1,
        labels: str | None = None,
        layout: str | None = None,
        confidence: float = 0.5,
        iou_threshold: float = 0.4,
        max_pixels: int = _DEFAULT_MAX_PIXELS,
        device: str = "auto",
    ) -> YoloRuntime:
        """Load the ONNX file at `path` for `threads` CPUs and try it on a blank picture.

        `labels` ("a,b,c") replaces the names in the file, `layout` the recognition of the output.
        Raises ConfigError with one sentence where the file cannot be served, or not on the
        `device` (`auto`, `cpu`, `cuda:N`).
        """
        # Requests already run beside each other; OpenCV's own threads would only disturb them.
        cv2.setNumThreads(1)
        network = YoloNetwork(
            Path(path),
            threads=threads,
            names=None if labels is None else from_list(labels),
            layout=None if layout is None else Layout(layout),
            device=device,
        )
        defaults = Thresholds(confidence, iou_threshold)
        return cls(network, defaults=defaults, max_pixels=max_pixels)

    def health(self) -> Mapping[str, Any]:
        """Which model answers."""
        return {"model": str(self._network.sessions.path)}

    def info(self) -> Mapping[str, Any]:
        """The model, its layout, and what a request may ask."""
        return {
            "model_type": "yolo",
            "model_path": str(self._network.sessions.path),
            "version": VERSION,
            "loaded": True,
            "threads": self._network.sessions.threads,
            "device": self._network.sessions.device,
            **self._network.describe(),
            "defaults": {
                "confidence": self._defaults.confidence,
                "iou_threshold": self._defaults.iou,
            },
            "max_detections": MOST_DETECTIONS,
            "max_pixels": self._max_pixels,
        }

    @property
    def signature(self) -> Signature:
        """The bare network, for clients that prepare pictures and read its output themselves."""
        return self._tensors.signature

    def infer(
        self, inputs: Mapping[str, Array], *, outputs: Sequence[str], threads: int
    ) -> Mapping[str, Array]:
        """See `ServesTensors.infer`."""
        return self._tensors.infer(inputs, outputs=outputs, threads=threads)

    def request_bodies(self) -> Mapping[str, Mapping[str, Any]]:
        """See `DescribesRequests`."""
        return forms.request_bodies(self.parameters)

    def query_parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """See `DescribesRequests`."""
        return forms.query_parameters(self.parameters)

    def predict(self, request: PredictRequest, *, threads: int) -> Mapping[str, Any]:
        """Detections of the picture in `request`, best first; see `ModelRuntime.predict`."""
        started = perf_counter()
        asked = forms.parse(request, self.parameters)
        thresholds = Thresholds(asked.values["confidence"], asked.values["iou_threshold"])
        picture = pictures.decode(asked.image, max_pixels=self._max_pixels, fit=self._network.size)
        decoded = perf_counter()
        found, times = self._find(picture, thresholds, threads=threads)
        return {
            "detections": [_on_the_wire(detection) for detection in found],
            "count": len(found),
            "image": {"width": picture.size.width, "height": picture.size.height},
            "timings_ms": {"decode": _milliseconds(started, decoded), **times},
        }

    def detect(
        self,
        image: PixelArray,
        *,
        confidence: float | None = None,
        iou_threshold: float | None = None,
        threads: int | None = None,
    ) -> Sequence[Detection]:
        """What is in `image` (uint8 `[h, w, 3]`, BGR), best first; at most 300.

        Thresholds not given are those of `load`; `threads` likewise.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"image must be uint8 [h, w, 3], not {image.dtype} {image.shape}")
        height, width = image.shape[:2]
        thresholds = Thresholds(
            self._defaults.confidence if confidence is None else confidence,
            self._defaults.iou if iou_threshold is None else iou_threshold,
        )
        picture = Picture(image, Size(width, height))
        found, _ = self._find(
            picture, thresholds, threads=threads or self._network.sessions.threads
        )
        return found

    def unload(self) -> None:
        """Nothing to close: the sessions go with the object."""

    def _find(
        self, picture: Picture, thresholds: Thresholds, *, threads: int
    ) -> tuple[list[Detection], dict[str, float]]:
        started = perf_counter()
        box = self._network.fit(picture.size)
        blob = self._network.prepare(picture, box)
        prepared = perf_counter()
        output = self._network.run(blob, threads=threads)
        answered = perf_counter()
        found = self._select(self._network.read(output, thresholds.confidence), box, thresholds)
        return found, {
            "preprocess": _milliseconds(started, prepared),
            "inference": _milliseconds(prepared, answered),
            "postprocess": _milliseconds(answered, perf_counter()),
        }

    def _select(
        self, candidates: Candidates, box: Letterbox, thresholds: Thresholds
    ) -> list[Detection]:
        if self._network.layout.needs_suppression:
            kept = suppress(candidates, thresholds.iou)
        else:
            kept = best_first(candidates, MOST_DETECTIONS)
        boxes, visible = to_pixels(box.to_original(kept.corners), box.original)
        found = [
            Detection(label_of(self._network.names, index), index, confidence, (x, y, w, h))
            for (x, y, w, h), index, confidence, seen in zip(
                boxes.tolist(), kept.classes.tolist(), kept.scores.tolist(), visible, strict=True
            )
            if seen
        ]
        return sorted(found, key=lambda d: (-d.confidence, d.class_id, d.bbox))


def _on_the_wire(detection: Detection) -> dict[str, Any]:
    return {
        "class": detection.label,
        "class_id": detection.class_id,
        "confidence": round(detection.confidence, 6),
        "bbox": list(detection.bbox),
    }


def _milliseconds(start: float, end: float) -> float:
    return round((end - start) * 1000, 3)
