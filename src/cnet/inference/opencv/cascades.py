"""Haar cascades that several threads may use, and searches with them.

A `CascadeClassifier` keeps state while it searches, so every search borrows one of its own.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from cv2.data import haarcascades
from numpy.typing import NDArray

from cnet.errors import ConfigError
from cnet.inference.images.pictures import PixelArray

BUILT_IN = {
    "face": "haarcascade_frontalface_default.xml",
    "eye": "haarcascade_eye.xml",
    "smile": "haarcascade_smile.xml",
}


@dataclass(frozen=True, slots=True)
class Search:
    """`scale_factor` between one window size and the next; a find needs `min_neighbors` finds
    around it; windows are at least `min_size` pixels wide and high.
    """

    scale_factor: float
    min_neighbors: int
    min_size: int


@dataclass(frozen=True, slots=True)
class Find:
    """One box (x, y, width, height in pixels) and how many finds around it support it."""

    box: tuple[int, int, int, int]
    support: int


class Cascade:
    """One cascade file; `find` may be called from several threads at once.

    Raises ConfigError when the file is missing or is no cascade.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: list[cv2.CascadeClassifier] = [_load(path)]
        self._lock = threading.Lock()

    def find(self, grey: PixelArray, search: Search) -> list[Find]:
        """What the cascade finds in `grey` `[h, w]`, best supported first, then by position."""
        classifier = self._borrow()
        try:
            boxes, support = classifier.detectMultiScale2(
                grey,
                scaleFactor=search.scale_factor,
                minNeighbors=search.min_neighbors,
                minSize=(search.min_size, search.min_size),
            )
        finally:
            with self._lock:
                self._idle.append(classifier)
        finds = [
            Find((int(x), int(y), int(w), int(h)), int(n))
            for (x, y, w, h), n in zip(_rows(boxes), support, strict=True)
        ]
        return sorted(finds, key=lambda find: (-find.support, find.box))

    def _borrow(self) -> cv2.CascadeClassifier:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _load(self.path)


def built_in_path(kind: str) -> Path:
    """Where OpenCV keeps its own cascade for `kind`."""
    return Path(haarcascades) / BUILT_IN[kind]


def _load(path: Path) -> cv2.CascadeClassifier:
    if not path.is_file():
        raise ConfigError(f"cascade file {path} does not exist or is no regular file")
    classifier = cv2.CascadeClassifier()
    try:
        loaded = classifier.load(str(path))
    except cv2.error as error:
        raise ConfigError(f"cascade file {path} cannot be loaded: {error.err}") from error
    if not loaded or classifier.empty():
        raise ConfigError(f"cascade file {path} is no OpenCV cascade")
    return classifier


def _rows(boxes: object) -> NDArray[np.int32]:
    return np.asarray(boxes, np.int32).reshape(-1, 4)
