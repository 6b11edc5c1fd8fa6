"""Suppression against a plain definition of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.inference.yolo.candidates import MOST_DETECTIONS, Candidates, suppress


def make(rng: np.random.Generator, count: int, *, spread: float, classes: int) -> Candidates:
    first = rng.uniform(0, spread, (count, 2))
    corners = np.hstack([first, first + rng.uniform(1, 60, (count, 2))])
    scores = (rng.integers(1, 50, count) / 50).astype(np.float32)  # with ties
    return Candidates(corners, scores, rng.integers(0, classes, count).astype(np.int32))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(width * height / (areas - width * height))


def plainly(candidates: Candidates, threshold: float) -> list[int]:
    """Greedy suppression, written as its definition reads."""
    kept: list[int] = []
    for row in sorted(range(len(candidates)), key=lambda i: (-candidates.scores[i], i)):
        rivals = [k for k in kept if candidates.classes[k] == candidates.classes[row]]
        corners = candidates.corners
        if all(overlap(corners[row], corners[k]) <= threshold for k in rivals):
            kept.append(row)
    return kept


@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.sampled_from([0.1, 0.4, 0.45, 0.9]))
def test_keeps_what_the_definition_keeps(seed: int, count: int, threshold: float) -> None:
    candidates = make(np.random.default_rng(seed), count, spread=120, classes=3)
    kept = suppress(candidates, threshold)
    expected = candidates.take(np.array(plainly(candidates, threshold), np.intp))
    assert kept.scores.tolist() == expected.scores.tolist()
    assert kept.classes.tolist() == expected.classes.tolist()
    assert kept.corners.tolist() == expected.corners.tolist()


@pytest.mark.parametrize("spread", [300, 3000])
def test_stopping_early_changes_nothing(spread: float) -> None:
    candidates = make(np.random.default_rng(1), 1800, spread=spread, classes=2)
    expected = plainly(candidates, 0.4)[:MOST_DETECTIONS]
    assert suppress(candidates, 0.4).corners.tolist() == candidates.corners[expected].tolist()


def test_a_huge_number_of_candidates_is_bounded() -> None:
    candidates = make(np.random.default_rng(2), 200_000, spread=5000, classes=80)
    assert len(suppress(candidates, 0.4)) == MOST_DETECTIONS


def test_huge_coordinates_do_not_mix_classes() -> None:
    corners = np.array([[0, 0, 1e7, 1e7], [0, 0, 1e7, 1e7], [5, 5, 9, 9]], np.float64)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    kept = suppress(Candidates(corners, scores, np.array([0, 1, 79], np.int32)), 0.4)
    assert kept.classes.tolist() == [0, 1, 79]
