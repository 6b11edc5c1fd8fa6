"""Decoding: every kind of picture, the size limit before decoding, EXIF, damage."""

from __future__ import annotations

import resource
import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cnet.errors import MalformedError, SpecError, TooLargeError
from cnet.inference.images.pictures import FORMATS, Size, decode

LIMIT = 1_000_000
RED_BGR = (0, 0, 255)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def red(mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Image.Image:
    return Image.new("RGB", size, (255, 0, 0)).convert(mode)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format(kind: str) -> None:
    picture = decode(encode(red(), kind), max_pixels=LIMIT)
    assert picture.size == Size(60, 40)
    assert picture.pixels.shape == (40, 60, 3)
    assert np.abs(picture.pixels.astype(int) - RED_BGR).max() <= 3


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("1", "PNG"), ("I;16", "PNG"),
     ("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "WEBP"), ("P", "GIF"), ("CMYK", "TIFF"),
     ("I;16", "TIFF"), ("L", "BMP")],
)  # fmt: skip
def test_depths_and_colour_models_become_8_bit_bgr(mode: str, kind: str) -> None:
    source = red("L").convert("I;16") if mode == "I;16" else red(mode)
    pixels = decode(encode(source, kind), max_pixels=LIMIT).pixels
    assert pixels.shape == (40, 60, 3)
    assert pixels.dtype == np.uint8
    assert decode(encode(source, kind), max_pixels=LIMIT, colours="grey").pixels.shape == (40, 60)


def test_16_bit_keeps_its_brightness() -> None:
    values = np.full((4, 4), 0x8000, np.uint16)
    pixels = decode(encode(Image.fromarray(values), "PNG"), max_pixels=LIMIT).pixels
    assert set(pixels.ravel().tolist()) == {0x80}


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 1)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
def test_extreme_proportions(kind: str, size: tuple[int, int]) -> None:
    picture = decode(encode(red(size=size), kind), max_pixels=LIMIT)
    assert picture.size == Size(*size)


@pytest.mark.parametrize("fit", [None, Size(10, 10)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_on_display(orientation: int, fit: Size | None) -> None:
    """The white corner goes where a viewer shows it, however small the decoding."""
    source = np.zeros((48, 96, 3), np.uint8)
    source[:16, :32] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(Image.fromarray(source), "JPEG", exif=exif, quality=95)
    picture = decode(encoded, max_pixels=LIMIT, fit=fit)
    with Image.open(BytesIO(encoded)) as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened).convert("L"))
    assert picture.size == Size(upright.shape[1], upright.shape[0])
    step = upright.shape[0] // picture.pixels.shape[0]
    assert step == (1 if fit is None else 8)
    light = picture.pixels[..., 0] > 128
    assert light.mean() == pytest.approx(upright.mean() / 255, abs=0.02)
    corner_rows, corner_columns = np.nonzero(light)
    rows, columns = np.nonzero(upright > 128)
    assert corner_rows.mean() * step == pytest.approx(rows.mean(), abs=step)
    assert corner_columns.mean() * step == pytest.approx(columns.mean(), abs=step)


@pytest.mark.parametrize(
    ("fit", "shape"),
    [(Size(640, 640), (1000, 800)), (Size(400, 400), (500, 400)), (Size(300, 200), (250, 200)),
     (Size(10, 10), (125, 100)), (Size(5000, 100), (125, 100))],
)  # fmt: skip
def test_jpeg_is_decoded_no_smaller_than_needed(fit: Size, shape: tuple[int, int]) -> None:
    picture = decode(encode(red(size=(800, 1000)), "JPEG"), max_pixels=LIMIT, fit=fit)
    assert picture.size == Size(800, 1000)
    assert picture.pixels.shape[:2] == shape


class TestLimit:
    def test_bombs_are_refused_by_their_header(self) -> None:
        header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        chunk = b"IHDR" + header
        bomb = (
            b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
            + struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IDAT"
        )  # fmt: skip
        with pytest.raises(TooLargeError, match="60000 x 60000"):
            decode(bomb, max_pixels=50_000_000)

    @pytest.mark.parametrize("length", [2_000, 2**31 - 1, 2**32 - 4])
    def test_png_chunk_that_says_it_is_longer_than_the_file(self, length: int) -> None:
        """OpenCV alone takes seconds and up to 4 GiB for these."""
        encoded = bytearray(encode(red(), "PNG"))
        at = encoded.index(b"IDAT")
        encoded[at - 4 : at] = struct.pack(">I", length)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(MalformedError, match="damaged"):
            decode(bytes(encoded), max_pixels=LIMIT)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB

    @pytest.mark.parametrize("kind", FORMATS)
    def test_every_format_at_the_limit(self, kind: str) -> None:
        encoded = encode(red(size=(100, 100)), kind)
        assert decode(encoded, max_pixels=10_000).size == Size(100, 100)
        with pytest.raises(TooLargeError, match="9999 pixels"):
            decode(encoded, max_pixels=9_999)


class TestDamage:
    @pytest.mark.parametrize("kind", FORMATS)
    @pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.95])
    def test_cut_off(self, kind: str, part: float) -> None:
        noise = np.random.default_rng(3).integers(0, 256, (50, 50, 3), np.uint8)
        encoded = encode(Image.fromarray(noise), kind)
        with pytest.raises(MalformedError) as caught:
            decode(encoded[: int(len(encoded) * part)], max_pixels=LIMIT)
        assert caught.value.code == "bad_image"

    @pytest.mark.parametrize(
        "content",
        [b"<svg/>", b"%PDF-1.4", b"\0" * 100, b"\xff\xd8\xff", b"II*\0" + b"\xff" * 40,
         b"8BPS\0\1" + b"\0" * 40, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"],
    )  # fmt: skip
    def test_other_files(self, content: bytes) -> None:
        with pytest.raises(MalformedError):
            decode(content, max_pixels=LIMIT)


@given(st.sampled_from(FORMATS), st.data())
def test_any_change_of_bytes_is_a_picture_or_a_refusal(kind: str, data: st.DataObject) -> None:
    encoded = bytearray(encode(red(size=(16, 12)), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = decode(bytes(encoded), max_pixels=LIMIT)
    except SpecError as error:
        assert error.code in ("bad_image", "too_large")
    else:
        assert picture.size.width * picture.size.height <= LIMIT
        assert picture.pixels.shape == (picture.size.height, picture.size.width, 3)
