"""Fitting a picture into a network's input without changing its proportions, and the way back.

The picture is scaled to fit, centred, and the rest filled with the grey that YOLO networks are
trained with (114; Ultralytics `LetterBox`). The way back uses the scale really applied on each
axis after rounding to whole pixels, so it is exact also for extreme proportions.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cnet.inference.images.pictures import PixelArray, Size

GREY = 114


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a picture of size `original` lies in an input of size `canvas`, all in pixels.

    `inner` is the size of the scaled picture, `left` and `top` the margins before it.
    """

    original: Size
    canvas: Size
    inner: Size
    left: int
    top: int

    @classmethod
    def fit(cls, original: Size, canvas: Size) -> Letterbox:
        """As large as possible inside `canvas`, centred."""
        inner = _scaled(original, canvas)
        left, top = (canvas.width - inner.width) // 2, (canvas.height - inner.height) // 2
        return cls(original, canvas, inner, left, top)

    @classmethod
    def tight(cls, original: Size, *, limit: Size, stride: int) -> Letterbox:
        """As large as inside `limit`, on the smallest canvas whose sides are multiples of `stride`.

        For networks that take any size: less grey, less to compute.
        """
        inner = _scaled(original, limit)
        width, height = (-(-side // stride) * stride for side in (inner.width, inner.height))
        return cls.fit(original, Size(width, height))

    def apply(self, pixels: PixelArray) -> PixelArray:
        """`pixels` `[h, w, 3]` (the original, or a smaller decoding of it) on the canvas."""
        height, width = pixels.shape[:2]
        if (width, height) != (self.inner.width, self.inner.height):
            pixels = cv2.resize(pixels, (self.inner.width, self.inner.height)).astype(
                np.uint8, copy=False
            )
        right = self.canvas.width - self.inner.width - self.left
        bottom = self.canvas.height - self.inner.height - self.top
        if not (self.left or self.top or right or bottom):
            return pixels
        edges = (self.top, bottom, self.left, right)
        framed = cv2.copyMakeBorder(
            pixels, *edges, borderType=cv2.BORDER_CONSTANT, value=(GREY, GREY, GREY)
        )
        return framed.astype(np.uint8, copy=False)

    def to_canvas(self, corners: NDArray[np.float64]) -> NDArray[np.float64]:
        """Corners `[n, 4]` (x1, y1, x2, y2) of the original in pixels of the canvas."""
        scale, shift = self._maps()
        return corners * scale + shift

    def to_original(self, corners: NDArray[np.float64]) -> NDArray[np.float64]:
        """Corners `[n, 4]` on the canvas in pixels of the original; not clipped."""
        scale, shift = self._maps()
        return (corners - shift) / scale

    def _maps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        x = self.inner.width / self.original.width
        y = self.inner.height / self.original.height
        shift = (self.left, self.top, self.left, self.top)
        return np.array([x, y, x, y]), np.array(shift, np.float64)


def _scaled(original: Size, canvas: Size) -> Size:
    ratio = min(canvas.width / original.width, canvas.height / original.height)
    width, height = round(original.width * ratio), round(original.height * ratio)
    return Size(min(max(width, 1), canvas.width), min(max(height, 1), canvas.height))
