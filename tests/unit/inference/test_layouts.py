"""Real exports' shapes, and who wins where two layouts have the same."""

from __future__ import annotations

import pytest

from cnet.errors import ConfigError
from cnet.inference.images.pictures import Size
from cnet.inference.yolo.layouts import Layout, pick_output, recognise

SQUARE = Size(640, 640)


@pytest.mark.parametrize(
    ("shape", "size", "classes", "expected"),
    [
        ((1, 25200, 85), SQUARE, 80, Layout.OBJECTNESS),
        ((1, 25200, 85), SQUARE, None, Layout.OBJECTNESS),
        ((1, 102000, 85), Size(1280, 1280), None, Layout.OBJECTNESS),  # P6: strides 8-64
        ((1, 25200, 6), SQUARE, None, Layout.OBJECTNESS),  # one class
        ((1, 84, 8400), SQUARE, 80, Layout.COLUMNS),
        ((1, 84, 8400), SQUARE, None, Layout.COLUMNS),
        ((1, 5, 8400), SQUARE, None, Layout.COLUMNS),
        ((1, 84, 21), Size(32, 32), None, Layout.COLUMNS),  # fewer cells than columns
        ((1, 8, 2000), Size(320, 320), 4, Layout.COLUMNS),
        ((1, 8400, 84), SQUARE, 80, Layout.ROWS),
        ((1, 8400, 84), SQUARE, None, Layout.ROWS),
        ((1, 8400, 6), SQUARE, None, Layout.ROWS),  # two classes
        ((1, 300, 6), SQUARE, 80, Layout.END_TO_END),
        ((1, 300, 6), SQUARE, None, Layout.END_TO_END),
        ((1, 300, 6), Size(640, 480), 2, Layout.END_TO_END),  # 20 x 15 cells of stride 32
        ((1, 100, 6), SQUARE, 1, Layout.END_TO_END),
        ((37, 7), SQUARE, 80, Layout.END_TO_END_V7),
        ((0, 7), SQUARE, None, Layout.END_TO_END_V7),
    ],
)
def test_shapes_of_exports(
    shape: tuple[int, ...], size: Size, classes: int | None, expected: Layout
) -> None:
    assert recognise(shape, size=size, classes=classes) is expected


def test_metadata_decides_where_the_shape_cannot() -> None:
    shape = (1, 504, 6)  # cells of 192 x 128 with three strides, or 504 results
    size = Size(192, 128)
    assert recognise(shape, size=size, classes=2) is Layout.ROWS
    assert recognise(shape, size=size, classes=2, is_end_to_end=True) is Layout.END_TO_END


@pytest.mark.parametrize("shape", [(1, 4, 8400), (1, 84, 84), (1, 3, 3), (1, 5000, 5)])
def test_shapes_of_nothing_known(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="no YOLO layout"):
        recognise(shape, size=SQUARE, classes=37)


def test_picks_the_detections_among_outputs() -> None:
    raw = [(1, 3, s, s, 85) for s in (80, 40, 20)]
    assert pick_output([(1, 25200, 85), *raw]) == 0
    assert pick_output([*raw, (1, 25200, 85)]) == 3
    for shapes in (raw, [(1, 84, 8400), (1, 84, 8400)], [(1, 1000)], []):
        with pytest.raises(ConfigError):
            pick_output(shapes)
