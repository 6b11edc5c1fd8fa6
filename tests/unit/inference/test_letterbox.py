"""The way into a network's input and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.inference.images.boxes import to_pixels
from cnet.inference.images.pictures import Size
from cnet.inference.yolo.letterbox import GREY, Letterbox

sides = st.integers(1, 6000)
sizes = st.builds(Size, sides, sides)
canvases = st.builds(Size, st.integers(1, 1280), st.integers(1, 1280))


@st.composite
def pictures_with_box(draw: st.DrawFn) -> tuple[Size, tuple[int, int, int, int]]:
    size = draw(sizes)
    x = draw(st.integers(0, size.width - 1))
    y = draw(st.integers(0, size.height - 1))
    w = draw(st.integers(1, size.width - x))
    h = draw(st.integers(1, size.height - y))
    return size, (x, y, w, h)


def letterboxes(size: Size, canvas: Size) -> list[Letterbox]:
    return [Letterbox.fit(size, canvas), Letterbox.tight(size, limit=canvas, stride=32)]


@given(pictures_with_box(), canvases)
def test_there_and_back_is_the_same_box(
    picture: tuple[Size, tuple[int, int, int, int]], canvas: Size
) -> None:
    size, (x, y, w, h) = picture
    corners = np.array([[x, y, x + w, y + h]], np.float64)
    for box in letterboxes(size, canvas):
        there = box.to_canvas(corners)
        assert (there >= -1e-9).all()
        assert (there <= np.array([box.canvas.width, box.canvas.height] * 2) + 1e-9).all()
        boxes, visible = to_pixels(box.to_original(there), size)
        assert visible.all()
        assert boxes.tolist() == [[x, y, w, h]]


@given(pictures_with_box())
def test_float32_of_a_network_costs_at_most_a_pixel(
    picture: tuple[Size, tuple[int, int, int, int]],
) -> None:
    size, (x, y, w, h) = picture
    box = Letterbox.fit(size, Size(640, 640))
    there = box.to_canvas(np.array([[x, y, x + w, y + h]], np.float64)).astype(np.float32)
    boxes, _ = to_pixels(box.to_original(there.astype(np.float64)), size)
    assert np.abs(boxes - [x, y, w, h]).max() <= 1


@given(sizes, canvases)
def test_picture_lies_inside_centred_and_keeps_its_proportions(size: Size, canvas: Size) -> None:
    for box in letterboxes(size, canvas):
        right = box.canvas.width - box.inner.width - box.left
        bottom = box.canvas.height - box.inner.height - box.top
        assert min(box.left, box.top, right, bottom, right - box.left, bottom - box.top) >= 0
        assert right - box.left <= 1
        assert bottom - box.top <= 1
        # One side is filled; the other is right within half a pixel (at least one pixel).
        ratio = min(box.canvas.width / size.width, box.canvas.height / size.height)
        assert abs(box.inner.width - max(size.width * ratio, 1)) <= 0.5 + 1e-9
        assert abs(box.inner.height - max(size.height * ratio, 1)) <= 0.5 + 1e-9


@given(sizes)
def test_tight_canvas_wastes_less_than_a_stride(size: Size) -> None:
    box = Letterbox.tight(size, limit=Size(640, 640), stride=32)
    assert box.canvas.width % 32 == 0
    assert box.canvas.height % 32 == 0
    assert max(box.canvas.width, box.canvas.height) == 640
    assert box.canvas.width - box.inner.width < 32
    assert box.canvas.height - box.inner.height < 32


@pytest.mark.parametrize(("width", "height"), [(30, 10), (10, 30), (1, 1), (2000, 1), (64, 64)])
def test_applied_picture_is_framed_with_grey(width: int, height: int) -> None:
    box = Letterbox.fit(Size(width, height), Size(64, 64))
    framed = box.apply(np.full((height, width, 3), 255, np.uint8))
    inside = framed[box.top : box.top + box.inner.height, box.left : box.left + box.inner.width]
    assert framed.shape == (64, 64, 3)
    assert (inside == 255).all()
    assert int((framed == GREY).all(axis=2).sum()) == 64 * 64 - inside.shape[0] * inside.shape[1]


floats = st.floats(width=32)


@given(st.lists(st.tuples(floats, floats, floats, floats), max_size=8), sizes)
def test_visible_boxes_lie_in_the_picture(
    corners: list[tuple[float, float, float, float]], size: Size
) -> None:
    boxes, visible = to_pixels(np.array(corners, np.float64).reshape(-1, 4), size)
    assert len(boxes) == len(visible) == len(corners)
    for x, y, w, h in boxes[visible].tolist():
        assert min(x, y) >= 0
        assert min(w, h) >= 1
        assert x + w <= size.width
        assert y + h <= size.height
