"""Inputs on which an estimator and its conversion are compared.

They lie where it was fitted, as far as its attributes tell: around its means, between its bounds,
at its training points, and exactly on both sides of the thresholds of its trees; and far away.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from cnet.inference.tensors.datatypes import Array

_MOST_POINTS = 64
_MOST_THRESHOLDS = 96
_SPREADS = (0.1, 1.0, 3.0, 30.0, 1000.0)
_CENTRES = ("mean_", "center_", "data_min_", "data_max_")
_WIDTHS = ("scale_", "data_range_")
_POINTS = ("theta_", "cluster_centers_", "support_vectors_", "_fit_X", "means_")


def probes(estimator: Any, width: int) -> Array:
    """Rows of `width` numbers, float64 [n, width], the same ones each time."""
    rng = np.random.default_rng(2026)
    parts = list(_parts(estimator))
    centre = _attribute(parts, _CENTRES, width, 0.0)
    spread = np.maximum(_attribute(parts, _WIDTHS, width, 1.0), 1e-6)
    rows = [np.zeros((1, width)), np.ones((1, width)), -np.ones((1, width))]
    rows += [centre + rng.normal(size=(48, width)) * spread * far for far in _SPREADS]
    rows.append(np.round(centre + rng.normal(size=(48, width)) * spread * 3))
    for points in _points(parts, width):
        chosen = points[rng.permutation(len(points))[:_MOST_POINTS]]
        rows += [chosen, chosen + rng.normal(size=chosen.shape) * spread * 0.1]
    rows.append(_beside_thresholds(parts, centre, spread, rng))
    return np.concatenate(rows)


def _parts(estimator: Any) -> Iterator[Any]:
    """It, and what stands first in it: only that sees the numbers as they are sent."""
    yield estimator
    steps = getattr(estimator, "steps", None)
    if steps:
        yield from _parts(steps[0][1])


def _attribute(parts: list[Any], names: tuple[str, ...], width: int, default: float) -> Array:
    for part in parts:
        for name in names:
            value = getattr(part, name, None)
            if isinstance(value, np.ndarray) and value.shape == (width,):
                return value.astype(np.float64)
    return np.full(width, default)


def _points(parts: list[Any], width: int) -> Iterator[Array]:
    for part in parts:
        for name in _POINTS:
            value = getattr(part, name, None)
            if isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[1] == width:
                yield value.astype(np.float64)


def _beside_thresholds(
    parts: list[Any], centre: Array, spread: Array, rng: np.random.Generator
) -> Array:
    """Rows of which one number is a threshold of a tree, or the next one to either side of it."""
    found = [pair for part in parts for tree in _trees(part) for pair in _splits(tree)]
    width = len(centre)
    rows = []
    for index in rng.permutation(len(found))[:_MOST_THRESHOLDS]:
        column, at = found[index]
        narrow = float(np.float32(at))
        for value in (
            at,
            np.nextafter(at, -np.inf),
            np.nextafter(at, np.inf),
            narrow,
            float(np.nextafter(np.float32(narrow), np.float32(-np.inf))),
            float(np.nextafter(np.float32(narrow), np.float32(np.inf))),
        ):
            row = centre + rng.normal(size=width) * spread
            row[column] = value
            rows.append(row)
    return np.array(rows).reshape(-1, width)


def _trees(part: Any) -> Iterator[Any]:
    if hasattr(part, "tree_"):
        yield part.tree_
    members = getattr(part, "estimators_", None)
    if isinstance(members, list | np.ndarray):
        for member in np.ravel(np.array(members, object)):
            if hasattr(member, "tree_"):
                yield member.tree_


def _splits(tree: Any) -> Iterator[tuple[int, float]]:
    for column, at in zip(tree.feature, tree.threshold, strict=True):
        if column >= 0:
            yield int(column), float(at)
