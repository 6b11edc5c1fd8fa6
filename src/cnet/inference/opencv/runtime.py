"""The built-in runtime `opencv`: faces in a picture, and eyes and smiles in faces.

Searched in a whole picture, the eye and above all the smile cascade find dozens of things that are
neither (22 "smiles" on a portrait). So by default they look where eyes and smiles are: eyes in the
upper part of a face, at most two; a smile in its lower half, at most one, the best supported.
`"search": "image"` asks for the whole picture. Parameters that a request names apply to the
search for what the service reports; faces around it are found with the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2

from cnet.inference.fields import Choice, Number, Parameter
from cnet.inference.images import forms, pictures
from cnet.inference.images.pictures import PixelArray
from cnet.inference.opencv.cascades import Cascade, Find, Search, built_in_path
from cnet.inference.runtime import PredictRequest

VERSION = "1.0"
MOST_DETECTIONS = 1_000

_DEFAULT = Search(scale_factor=1.1, min_neighbors=3, min_size=30)
_DEFAULT_MAX_PIXELS = 50_000_000
_SMALLEST_WINDOW = 4  # pixels


@dataclass(frozen=True, slots=True)
class _Region:
    """Where in a face to look, as parts of its height, and for what.

    `smallest` is the least width of a find as a part of the face's width.
    """

    top: float
    bottom: float
    smallest: float
    most: int
    min_neighbors: int


# Eyes: mean height 0.40 of a frontal face's box, so 0.60 leaves room for tilted heads. Smiles: the
# cascade finds one in 96 % of all small faces with 3 neighbours; 20 is what users of it settle on.
_REGIONS = {
    "eye": _Region(top=0.0, bottom=0.6, smallest=0.15, most=2, min_neighbors=3),
    "smile": _Region(top=0.5, bottom=1.0, smallest=0.2, most=1, min_neighbors=20),
}

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Sighting:
    """One find: `bbox` and the `face` it lies in as x, y, width, height in pixels."""

    bbox: Box
    face: Box | None = None


class OpencvRuntime:
    """A cascade for faces, eyes or smiles; may be used from several threads at once."""

    def __init__(self, kind: str, cascade: Cascade, *, custom: bool, max_pixels: int) -> None:
        self._kind = kind
        self._cascade = cascade
        self._custom = custom
        self._max_pixels = max_pixels
        self._faces = Cascade(built_in_path("face")) if kind in _REGIONS else cascade
        searches = ("faces", "image") if kind in _REGIONS else ("image",)
        self.parameters: tuple[Parameter, ...] = (
            Number("scale_factor", None, 1.01, 10, zero_is_default=True),
            Number("min_neighbors", None, 0, 1_000, whole=True, zero_is_default=True),
            Number("min_size", None, 0, 100_000, whole=True, zero_is_default=True),
            Choice("search", searches[0], searches),
        )

    @classmethod
    def load(
        cls,
        kind: str,
        *,
        path: Path | None = None,
        threads: int = 1,
        max_pixels: int = _DEFAULT_MAX_PIXELS,
    ) -> OpencvRuntime:
        """The cascade for `kind` (face, eye, smile), from `path` or the one OpenCV brings.

        Raises ConfigError where the file is no cascade.
        """
        # A search alone uses them all; searches beside each other each run on their own thread.
        cv2.setNumThreads(threads)
        cascade = Cascade(path or built_in_path(kind))
        return cls(kind, cascade, custom=path is not None, max_pixels=max_pixels)

    def health(self) -> Mapping[str, Any]:
        """What is looked for."""
        return {"cascade_type": self._kind}

    def info(self) -> Mapping[str, Any]:
        """The cascade and what a request may ask; `cascade_path` is empty unless customised."""
        region = _REGIONS.get(self._kind)
        return {
            "service_type": "opencv",
            "cascade_type": self._kind,
            "cascade_path": str(self._cascade.path) if self._custom else "",
            "version": VERSION,
            "loaded": True,
            "defaults": {
                "scale_factor": _DEFAULT.scale_factor,
                "min_neighbors": region.min_neighbors if region else _DEFAULT.min_neighbors,
                "min_size": f"{region.smallest} of the face" if region else _DEFAULT.min_size,
                "search": "faces" if region else "image",
            },
            "max_detections": MOST_DETECTIONS,
            "max_pixels": self._max_pixels,
        }

    def request_bodies(self) -> Mapping[str, Mapping[str, Any]]:
        """See `DescribesRequests`."""
        return forms.request_bodies(self.parameters)

    def query_parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """See `DescribesRequests`."""
        return forms.query_parameters(self.parameters)

    def predict(self, request: PredictRequest, *, threads: int) -> Mapping[str, Any]:
        """Boxes of the picture in `request`, best supported first; see `ModelRuntime.predict`."""
        started = perf_counter()
        asked = forms.parse(request, self.parameters)
        picture = pictures.decode(asked.image, max_pixels=self._max_pixels, colours="grey")
        decoded = perf_counter()
        found = self.detect(picture.pixels, **asked.values)
        return {
            "detections": [self._on_the_wire(sighting) for sighting in found],
            "count": len(found),
            "image": {"width": picture.size.width, "height": picture.size.height},
            "timings_ms": {
                "decode": round((decoded - started) * 1000, 3),
                "inference": round((perf_counter() - decoded) * 1000, 3),
            },
        }

    def detect(
        self,
        grey: PixelArray,
        *,
        scale_factor: float | None = None,
        min_neighbors: int | None = None,
        min_size: int | None = None,
        search: str | None = None,
    ) -> list[Sighting]:
        """What is in `grey` (uint8 `[h, w]`), best supported first; None means the default."""
        region = _REGIONS.get(self._kind)
        scale = scale_factor or _DEFAULT.scale_factor
        if region is None or search == "image":
            neighbors = min_neighbors or _DEFAULT.min_neighbors
            asked = Search(scale, neighbors, min_size or _DEFAULT.min_size)
            return [Sighting(f.box) for f in self._cascade.find(grey, asked)[:MOST_DETECTIONS]]
        found: list[Sighting] = []
        for face in self._faces.find(grey, _DEFAULT)[:MOST_DETECTIONS]:
            smallest = max(round(face.box[2] * region.smallest), _SMALLEST_WINDOW)
            asked = Search(scale, min_neighbors or region.min_neighbors, min_size or smallest)
            found.extend(self._within(grey, face, region, asked))
        return found[:MOST_DETECTIONS]

    def _within(
        self, grey: PixelArray, face: Find, region: _Region, search: Search
    ) -> list[Sighting]:
        left, top, width, height = face.box
        start, end = top + round(height * region.top), top + round(height * region.bottom)
        finds = self._cascade.find(grey[start:end, left : left + width], search)
        best = sorted(finds[: region.most], key=lambda find: find.box)
        return [
            Sighting((left + x, start + y, w, h), face.box)
            for x, y, w, h in (find.box for find in best)
        ]

    def unload(self) -> None:
        """Nothing to close: the cascades go with the object."""

    def _on_the_wire(self, sighting: Sighting) -> dict[str, Any]:
        wire: dict[str, Any] = {"type": self._kind, "bbox": list(sighting.bbox)}
        if sighting.face is not None:
            wire["face"] = list(sighting.face)
        return wire
