"""How good a detector is on pictures whose truth is known.

Shared by the training, which has torch but not CNET, and the evaluation, which has CNET but not
torch: it imports neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from shapes_data import CLASSES, Picture

HELD_OUT_SEED = 1_000_000  # training takes seeds from 0 upwards and never comes this far
MATCH_IOU = 0.5


class Detection(NamedTuple):
    """One box found: x, y, w, h in pixels of the picture, score 0 to 1."""

    class_id: int
    score: float
    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, slots=True)
class Matches:
    """All detections of one class, best first: `scores` and whether each hit a shape [N].

    `wanted` counts the shapes there are.
    """

    scores: NDArray[np.float64]
    hits: NDArray[np.bool_]
    wanted: int


def match(found: Sequence[Sequence[Detection]], pictures: Sequence[Picture], label: int) -> Matches:
    """Compare the detections of one class, a list for each picture, with the truth.

    Greedy by falling score: a detection takes the free shape it overlaps most, if that is IoU 0.5
    or more. A second detection of the same shape is a miss.
    """
    truths = [picture.boxes[picture.labels == label] for picture in pictures]
    free = [np.ones(len(boxes), np.bool_) for boxes in truths]
    ranked = sorted(
        (
            (index, detection)
            for index, detections in enumerate(found)
            for detection in detections
            if detection.class_id == label
        ),
        key=lambda entry: -entry[1].score,
    )
    hits = np.zeros(len(ranked), np.bool_)
    for rank, (index, detection) in enumerate(ranked):
        overlap = _iou(detection, truths[index]) * free[index]
        if overlap.size and overlap.max() >= MATCH_IOU:
            hits[rank] = True
            free[index][overlap.argmax()] = False
    scores = np.array([detection.score for _, detection in ranked], np.float64)
    return Matches(scores, hits, wanted=sum(len(boxes) for boxes in truths))


def average_precision(matches: Matches) -> float:
    """Area under the precision-recall curve, all points (as in PASCAL VOC since 2010)."""
    if matches.wanted == 0 or not matches.hits.size:
        return 0.0
    hits = np.cumsum(matches.hits)
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(hits / matches.wanted, prepend=0.0) * envelope))


def summarise(
    found: Sequence[Sequence[Detection]], pictures: Sequence[Picture], *, confidence: float = 0.5
) -> dict[str, float]:
    """Average precision by class name, their mean `mAP50`, and what a user of one threshold sees.

    `precision` and `recall` count the detections of all classes with at least `confidence`.
    """
    matches = [match(found, pictures, label) for label in range(len(CLASSES))]
    by_class = {
        name: average_precision(of_class) for name, of_class in zip(CLASSES, matches, strict=True)
    }
    shown = sum(int((of_class.scores >= confidence).sum()) for of_class in matches)
    right = sum(int(of_class.hits[of_class.scores >= confidence].sum()) for of_class in matches)
    return {
        **by_class,
        "mAP50": float(np.mean(list(by_class.values()))),
        "precision": right / max(shown, 1),
        "recall": right / max(sum(of_class.wanted for of_class in matches), 1),
    }


def _iou(detection: Detection, boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Overlap of one detection with boxes [N, 4] (x, y, w, h)."""
    start, extent = np.array(detection[2:4]), np.array(detection[4:6])
    low = np.maximum(start, boxes[:, :2])
    high = np.minimum(start + extent, boxes[:, :2] + boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    return np.asarray(shared / (extent.prod() + boxes[:, 2:].prod(axis=1) - shared), np.float64)
