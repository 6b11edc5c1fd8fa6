"""Faces, eyes and smiles on the photograph."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cnet.errors import ConfigError
from cnet.inference.images.pictures import PixelArray, decode
from cnet.inference.opencv.cascades import Cascade, Search, built_in_path
from cnet.inference.opencv.runtime import OpencvRuntime
from tests.inference.services import PHOTOGRAPH

Box = tuple[int, int, int, int]
FACE: Box = (177, 66, 95, 95)


@pytest.fixture(scope="module")
def grey() -> PixelArray:
    encoded = PHOTOGRAPH.read_bytes()
    return decode(encoded, max_pixels=1_000_000, colours="grey").pixels


def is_within(inner: Box, outer: Box) -> bool:
    return (
        inner[0] >= outer[0]
        and inner[1] >= outer[1]
        and inner[0] + inner[2] <= outer[0] + outer[2]
        and inner[1] + inner[3] <= outer[1] + outer[3]
    )


def test_one_face_at_the_defaults(grey: PixelArray) -> None:
    (found,) = OpencvRuntime.load("face").detect(grey)
    assert found.bbox == pytest.approx(FACE, abs=8)
    assert found.face is None


def test_two_eyes_in_the_upper_part_of_the_face(grey: PixelArray) -> None:
    left, right = OpencvRuntime.load("eye").detect(grey)
    assert left.face is not None
    assert left.face == right.face
    assert is_within(left.bbox, left.face)
    assert is_within(right.bbox, left.face)
    assert left.bbox[0] + left.bbox[2] <= right.bbox[0]
    assert max(left.bbox[1], right.bbox[1]) < left.face[1] + left.face[3] / 2


def test_one_smile_in_the_lower_half_of_the_face(grey: PixelArray) -> None:
    (smile,) = OpencvRuntime.load("smile").detect(grey)
    assert smile.face is not None
    assert is_within(smile.bbox, smile.face)
    assert smile.bbox[1] >= smile.face[1] + smile.face[3] // 2


def test_the_whole_picture_on_request(grey: PixelArray) -> None:
    everywhere = OpencvRuntime.load("smile").detect(grey, search="image")
    assert len(everywhere) > 10
    assert all(sighting.face is None for sighting in everywhere)


def test_parameters_are_honoured(grey: PixelArray) -> None:
    face = OpencvRuntime.load("face")
    assert face.detect(grey, min_size=200) == []
    assert face.detect(grey, min_neighbors=1000) == []
    smile = OpencvRuntime.load("smile")
    counts = [len(smile.detect(grey, search="image", min_neighbors=n)) for n in (1, 3, 20)]
    assert counts == sorted(set(counts), reverse=True)
    fine, coarse = (smile.detect(grey, search="image", scale_factor=factor) for factor in (1.05, 2))
    assert len(fine) > len(coarse)
    assert smile.detect(grey, min_neighbors=1000) == []
    assert smile.detect(grey, min_size=60) == []


def test_what_info_says(tmp_path: Path) -> None:
    plain = OpencvRuntime.load("eye").info()
    assert (plain["service_type"], plain["cascade_type"], plain["cascade_path"]) == (
        "opencv",
        "eye",
        "",
    )
    copy = tmp_path / "mine.xml"
    copy.write_bytes(built_in_path("eye").read_bytes())
    assert OpencvRuntime.load("eye", path=copy).info()["cascade_path"] == str(copy)


@pytest.mark.parametrize("content", [None, "", "<xml/>", "no xml", "<opencv_storage><a/>"])
def test_wrong_cascade_files(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "c.xml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"c\.xml"):
        OpencvRuntime.load("face", path=path)


def test_threads_do_not_disturb_each_other(grey: PixelArray) -> None:
    cascade = Cascade(built_in_path("face"))
    search = Search(scale_factor=1.1, min_neighbors=3, min_size=30)
    expected = cascade.find(grey, search)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: cascade.find(grey, search), range(12)))
    assert results == [expected] * 12
