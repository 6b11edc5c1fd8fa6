"""Measure a shapes detector on pictures it was not trained on, through CNET's own YOLO runtime.

What is measured is what a served model answers: letterbox, decoding and suppression are those of
`cnet.inference`. Nothing here knows how the model was made. Needs `cnet[onnx]`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

from detection_metrics import HELD_OUT_SEED, Detection, summarise
from shapes_data import CLASSES, Image, generate

from cnet.inference.yolo.runtime import YoloRuntime

LOWEST_CONFIDENCE = 0.001  # average precision looks at the whole curve, unsure boxes included

Detect = Callable[[Image, float, float], list[Detection]]


def load_detector(model: Path, threads: int) -> Detect:
    """The served model as a function of a BGR picture, confidence and IoU of the NMS."""
    runtime = YoloRuntime.load(model, threads=threads)

    def detect(image_bgr: Image, confidence: float, iou: float) -> list[Detection]:
        found = runtime.detect(image_bgr, confidence=confidence, iou_threshold=iou)
        return [Detection(one.class_id, one.confidence, *one.bbox) for one in found]

    return detect


def evaluate(
    detect: Detect, *, seed_start: int, pictures: int, size: int, confidence: float, iou: float
) -> dict[str, float]:
    """Everything `summarise` gives, and the median time of one picture in milliseconds."""
    truths = [generate(seed, size) for seed in range(seed_start, seed_start + pictures)]
    found, times_s = [], []
    for truth in truths:
        begun = perf_counter()
        found.append(detect(truth.image, LOWEST_CONFIDENCE, iou))
        times_s.append(perf_counter() - begun)
    figures = summarise(found, truths, confidence=confidence)
    return {**figures, "median_ms": median(times_s) * 1000}


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="ONNX file")
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument(
        "--seed-start", type=int, default=HELD_OUT_SEED, help="of the first picture"
    )
    parser.add_argument("--size", type=int, default=320, help="side of the pictures in pixels")
    parser.add_argument("--confidence", type=float, default=0.5, help="for precision and recall")
    parser.add_argument("--iou", type=float, default=0.4, help="of the suppression")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--min-map50", type=float, default=0.0, help="exit with 1 below this")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args(arguments)
    if options.pictures < 1:
        parser.error(f"--pictures must be at least 1, not {options.pictures}")
    return options


def report(figures: dict[str, float], options: argparse.Namespace) -> str:
    if options.json:
        rounded = {name: round(value, 4) for name, value in figures.items()}
        return json.dumps({"model": str(options.model), "pictures": options.pictures, **rounded})
    return "\n".join(
        [
            *(f"AP50 {name:<10} {figures[name]:.4f}" for name in CLASSES),
            f"mAP50           {figures['mAP50']:.4f}  ({options.pictures} pictures)",
            f"precision       {figures['precision']:.4f}  (confidence {options.confidence})",
            f"recall          {figures['recall']:.4f}  (confidence {options.confidence})",
            f"median          {figures['median_ms']:.1f} ms a picture",
        ]
    )


def main() -> int:
    options = parse_options()
    figures = evaluate(
        load_detector(options.model, options.threads),
        seed_start=options.seed_start,
        pictures=options.pictures,
        size=options.size,
        confidence=options.confidence,
        iou=options.iou,
    )
    sys.stdout.write(report(figures, options) + "\n")
    return 0 if figures["mAP50"] >= options.min_map50 else 1


if __name__ == "__main__":
    sys.exit(main())
