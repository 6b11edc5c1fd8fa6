"""What `demo.py` asks the services, and whether an answer is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from ml_models.shapes_data import CLASSES, generate
from PIL import Image

from cnet.cli.drawing import label_of
from cnet.client import JsonObject

PHOTOGRAPH = Path(__file__).resolve().parent / "assets" / "astronaut.jpg"

# Training never sees these. They are pictures that the detector gets wholly right with a margin;
# so it does with about two of three, and ml_models/evaluate_shapes.py says how well over all.
HELD_OUT_SEEDS = (1_000_000, 1_000_005, 1_000_015, 1_000_035, 1_000_037)
LEAST_IOU = 0.5


@dataclass(frozen=True)
class Question:
    """A picture and what is on it; `truth` is None where only the labels are known."""

    name: str
    service: str
    image: bytes
    labels: tuple[str, ...]
    truth: tuple[tuple[int, int, int, int], ...] | None


def questions() -> list[Question]:
    """The photograph, and generated pictures that the detector has never seen."""
    found = [Question(PHOTOGRAPH.name, "faces", PHOTOGRAPH.read_bytes(), ("face",), None)]
    for seed in HELD_OUT_SEEDS:
        picture = generate(seed)
        encoded = BytesIO()
        Image.fromarray(picture.image[:, :, ::-1]).save(encoded, "PNG")  # BGR to RGB
        labels = tuple(CLASSES[label] for label in picture.labels)
        boxes = tuple((int(x), int(y), int(w), int(h)) for x, y, w, h in picture.boxes)
        found.append(Question(f"shapes-{seed}", "shapes", encoded.getvalue(), labels, boxes))
    return found


def is_right(question: Question, detections: Sequence[JsonObject]) -> bool:
    """The same labels the same number of times, and each true box met by one of its label."""
    if Counter(question.labels) != Counter(label_of(each) for each in detections):
        return False
    if question.truth is None:
        return True
    unused = list(detections)
    for label, box in zip(question.labels, question.truth, strict=True):
        rivals = [each for each in unused if label_of(each) == label]
        best = max(rivals, key=lambda each: iou(box, each["bbox"]))
        if iou(box, best["bbox"]) < LEAST_IOU:
            return False
        unused.remove(best)
    return True


def iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two boxes `x, y, width, height`; 0–1."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)
