"""Encoded pictures to pixels, safely and quickly.

Size comes before decoding: the header is read first and a picture over the limit is refused
without unpacking a byte of it. OpenCV is told a limit too, in case it reads a header otherwise
than Pillow does. Pictures are decoded as they are displayed: an EXIF orientation is applied, and
boxes refer to the upright picture.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from cnet.errors import MalformedError, TooLargeError

MOST_PIXELS = 1 << 28
"""No service can be told to take larger pictures: 768 MiB when decoded."""

# OpenCV reads this once, when it is imported.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))

import cv2  # noqa: E402

# A refused picture is answered to its sender; it is no event in the life of the service.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# The limit is this module's, and it is checked against the header only.
PillowImage.MAX_IMAGE_PIXELS = None

PixelArray = NDArray[np.uint8]
Colours = Literal["bgr", "grey"]

# Imported by name: asked for a format it has not seen, Pillow imports all forty it knows.
_READERS = (
    BmpImageFile,
    GifImageFile,
    JpegImageFile,
    PngImageFile,
    TiffImageFile,
    WebPImageFile,
)
FORMATS = tuple(str(reader.format) for reader in _READERS)

_LONGEST_SIDE = 1 << 20  # OpenCV's own limit
_PNG_SIGNATURE = 8  # bytes before the first chunk
_PNG_CHUNK_FRAME = 12  # bytes of a chunk beside its data: length, name, checksum
_EXIF_ORIENTATION = 0x0112
_EXIF_SIDEWAYS = (5, 6, 7, 8)  # width and height are exchanged on display
_FLAGS = {
    ("bgr", 1): cv2.IMREAD_COLOR,
    ("bgr", 2): cv2.IMREAD_REDUCED_COLOR_2,
    ("bgr", 4): cv2.IMREAD_REDUCED_COLOR_4,
    ("bgr", 8): cv2.IMREAD_REDUCED_COLOR_8,
    ("grey", 1): cv2.IMREAD_GRAYSCALE,
    ("grey", 2): cv2.IMREAD_REDUCED_GRAYSCALE_2,
    ("grey", 4): cv2.IMREAD_REDUCED_GRAYSCALE_4,
    ("grey", 8): cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Picture:
    """Decoded pixels: `pixels` uint8 [h, w, 3] (BGR) or [h, w] (grey), `size` of the original.

    A JPEG that is to be shrunk anyway may have been decoded smaller, so `pixels` can have fewer
    rows and columns than `size` says. `size` is that of the upright picture.
    """

    pixels: PixelArray
    size: Size


def decode(
    encoded: bytes, *, max_pixels: int, colours: Colours = "bgr", fit: Size | None = None
) -> Picture:
    """The picture in `encoded`.

    `fit` says that the picture will be shrunk to lie within that size: a large JPEG is then
    decoded at a half, quarter or eighth, never below what is needed. Raises TooLargeError over
    `max_pixels`, MalformedError (`bad_image`) for what is no complete picture of the `FORMATS`.
    """
    kind, size = _read_header(encoded)
    _refuse_too_large(size, max_pixels)
    if kind == "PNG":
        _refuse_cut_png(encoded)
    if kind == "JPEG" and fit is not None:
        factor = _reduction(size, fit)
        pixels = _decode_pixels(encoded, colours, factor)
        if pixels.shape[:2] == (-(-size.height // factor), -(-size.width // factor)):
            return Picture(pixels, size)
    pixels = _decode_pixels(encoded, colours, 1)
    height, width = pixels.shape[:2]
    _refuse_too_large(Size(width, height), max_pixels)
    return Picture(pixels, Size(width, height))


def _read_header(encoded: bytes) -> tuple[str, Size]:
    """Format and upright size."""
    try:
        with PillowImage.open(BytesIO(encoded), formats=FORMATS) as image:
            width, height = image.size
            if image.format == "JPEG" and _is_sideways(image):
                width, height = height, width
            return str(image.format), Size(width, height)
    except UnidentifiedImageError:
        raise _bad_image(f"image is none of {', '.join(FORMATS)}") from None
    except Exception as error:  # noqa: BLE001  Pillow raises nearly anything on broken headers
        raise _bad_image(f"the picture's header is broken: {type(error).__name__}") from None


def _is_sideways(image: PillowImage.Image) -> bool:
    return "exif" in image.info and image.getexif().get(_EXIF_ORIENTATION) in _EXIF_SIDEWAYS


def _refuse_too_large(size: Size, max_pixels: int) -> None:
    if size.width * size.height > max_pixels or max(size.width, size.height) > _LONGEST_SIDE:
        raise TooLargeError(
            f"the picture has {size.width} x {size.height} pixels; "
            f"at most {max_pixels} pixels are taken",
            field="image",
        )


def _refuse_cut_png(encoded: bytes) -> None:
    """OpenCV 4.14 sets aside what a chunk's length says, 4 GiB for three kilobytes that lie."""
    start = _PNG_SIGNATURE
    while start < len(encoded):
        length = int.from_bytes(encoded[start : start + 4])
        is_last = encoded[start + 4 : start + 8] == b"IEND"
        start += length + _PNG_CHUNK_FRAME
        if is_last:
            break
    if start > len(encoded):
        raise _bad_image("the picture cannot be decoded: it is damaged or incomplete")


def _reduction(size: Size, fit: Size) -> int:
    """The largest of 1, 2, 4, 8 by which `size` can be divided and still has to be shrunk."""
    shrink = max(size.width / fit.width, size.height / fit.height)
    return next((factor for factor in (8, 4, 2) if factor <= shrink), 1)


def _decode_pixels(encoded: bytes, colours: Colours, factor: int) -> PixelArray:
    """OpenCV turns any depth, grey, alpha and inks into 8-bit BGR or grey, and uprights it."""
    try:
        decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), _FLAGS[colours, factor])
    except cv2.error as error:
        raise _bad_image(f"the picture cannot be decoded: {error.err}") from None
    if decoded is None or decoded.size == 0:
        raise _bad_image("the picture cannot be decoded: it is damaged or incomplete")
    return decoded.astype(np.uint8, copy=False)


def _bad_image(sentence: str) -> MalformedError:
    return MalformedError(sentence, field="image", code="bad_image")
