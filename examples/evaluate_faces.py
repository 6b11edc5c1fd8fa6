"""How well the face detection service does on `skimage.data.lfw_subset`: recall and false alarms.

The set holds 100 faces (from Labeled Faces in the Wild) and 100 pieces of other pictures, 25 x 25
pixels each, grey. The cascade was made for faces of at least 24 pixels inside a picture, so each
piece is enlarged and given a margin of its own edge pixels. The runtime is the one of
`cnet-inference opencv --cascade-type face`, with encoding and decoding of a real picture.

    python examples/evaluate_faces.py [--side 100] [--margin 25]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

from cnet.inference.images.pictures import PixelArray, decode
from cnet.inference.opencv.runtime import OpencvRuntime

FACES = 100  # the first ones; the others are none

SETTINGS: tuple[dict[str, float], ...] = (
    {},
    {"min_neighbors": 1},
    {"min_neighbors": 5},
    {"scale_factor": 1.05},
    {"scale_factor": 1.05, "min_neighbors": 2},
    {"scale_factor": 1.02},
)


def enlarge(piece: NDArray[np.float64], *, side: int, margin: int) -> PixelArray:
    """`piece` (0-1) as grey uint8 of `side` pixels with `margin` pixels around, through a PNG."""
    grey = np.clip(np.rint(piece * 255), 0, 255).astype(np.uint8)
    large = cv2.resize(grey, (side, side), interpolation=cv2.INTER_CUBIC)
    framed = np.pad(large, margin, mode="edge")
    encoded = cv2.imencode(".png", framed)[1].tobytes()
    return decode(encoded, max_pixels=1_000_000, colours="grey").pixels


def count_found(
    runtime: OpencvRuntime, pictures: Sequence[PixelArray], setting: dict[str, float]
) -> int:
    """In how many of `pictures` at least one face is found."""
    return sum(bool(runtime.detect(picture, **setting)) for picture in pictures)  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--side", type=int, default=100, help="pixels a piece is enlarged to")
    parser.add_argument("--margin", type=int, default=25, help="pixels around it")
    arguments = parser.parse_args()
    pieces = data.lfw_subset()  # type: ignore[no-untyped-call]
    pictures = [enlarge(p, side=arguments.side, margin=arguments.margin) for p in pieces]
    faces, others = pictures[:FACES], pictures[FACES:]
    runtime = OpencvRuntime.load("face")
    print(f"{len(faces)} faces, {len(others)} others, {faces[0].shape[0]} pixels square")
    print(f"{'setting':<44}{'recall':>10}{'false alarms':>16}")
    for setting in SETTINGS:
        name = ", ".join(f"{key} {value:g}" for key, value in setting.items()) or "defaults"
        found, wrong = (count_found(runtime, part, setting) for part in (faces, others))
        print(f"{name:<44}{found:>6}/{len(faces)}{wrong:>12}/{len(others)}")


if __name__ == "__main__":
    main()
