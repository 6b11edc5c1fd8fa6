"""Boxes end up where the detections say, on the upright picture."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from cnet.cli.drawing import caption, save_annotated
from cnet.errors import SpecError


def encoded(width: int, height: int, *, orientation: int | None = None) -> bytes:
    picture = Image.new("RGB", (width, height), "white")
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    content = BytesIO()
    picture.save(content, "JPEG", exif=exif, quality=95)
    return content.getvalue()


def drawn_on(path: Path) -> list[tuple[int, int]]:
    with Image.open(path) as picture:
        pixels = picture.convert("L")
        return [
            (x, y)
            for x in range(pixels.width)
            for y in range(pixels.height)
            if pixels.getpixel((x, y)) != 255
        ]


def test_box_is_drawn_at_its_place(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    detection = {"class": "star", "confidence": 0.91, "bbox": [40, 60, 50, 30]}
    save_annotated(encoded(200, 160), [detection], target)
    marked = set(drawn_on(target))
    assert {(40, 75), (90, 75), (65, 60), (65, 90)} <= marked  # the middle of each side
    assert (65, 75) not in marked
    assert all(x >= 40 and 30 <= y <= 91 for x, y in marked)


def test_nothing_found_leaves_the_picture_as_it_is(tmp_path: Path) -> None:
    save_annotated(encoded(60, 40), [], tmp_path / "out.png")
    assert drawn_on(tmp_path / "out.png") == []


def test_exif_orientation_is_applied_first(tmp_path: Path) -> None:
    save_annotated(encoded(60, 40, orientation=6), [], tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (40, 60)


@pytest.mark.parametrize("box", [[-5, -5, 300, 300], [0, 0, 0, 0], [59, 39, 1, 1]])
def test_boxes_at_and_over_the_edge_are_no_error(tmp_path: Path, box: list[int]) -> None:
    save_annotated(encoded(60, 40), [{"type": "face", "bbox": box}], tmp_path / "out.png")
    assert drawn_on(tmp_path / "out.png")


def test_what_cannot_be_read_or_written_is_an_error_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be drawn on"):
        save_annotated(b"no picture", [], tmp_path / "out.png")
    with pytest.raises(SpecError, match=r"out\.nonsense"):
        save_annotated(encoded(8, 8), [], tmp_path / "out.nonsense")
    with pytest.raises(SpecError, match="cannot be written"):
        save_annotated(encoded(8, 8), [], tmp_path / "absent" / "out.png")


def test_captions() -> None:
    assert caption({"class": "star", "confidence": 0.914}) == "star 91%"
    assert caption({"type": "face"}) == "face"
