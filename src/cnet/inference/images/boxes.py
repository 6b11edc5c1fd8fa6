"""Boxes on their way to the wire: integers in pixels of the original picture, inside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnet.inference.images.pictures import Size

FloatArray = NDArray[np.float32] | NDArray[np.float64]


def to_pixels(corners: FloatArray, size: Size) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Corners `[n, 4]` (x1, y1, x2, y2, any floats) as integer boxes `[n, 4]` (x, y, w, h).

    The second array tells which boxes lie in the picture at all. Those are clipped to it and are
    at least one pixel wide and high.
    """
    limit = np.array([size.width, size.height], np.float64)
    first, last = corners[:, :2].astype(np.float64), corners[:, 2:].astype(np.float64)
    inside = np.isfinite(corners).all(axis=1) & ((first < limit) & (last > 0)).all(axis=1)
    visible: NDArray[np.bool_] = np.asarray(inside & (last >= first).all(axis=1))
    first, last = (np.where(visible[:, None], edge, 0.0) for edge in (first, last))
    start = np.clip(np.rint(first), 0, limit - 1)
    end = np.clip(np.rint(last), start + 1, limit)
    return np.hstack([start, end - start]).astype(np.int64), visible
