"""Boxes with labels drawn on a picture, by Pillow."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from cnet.client import JsonObject
from cnet.errors import SpecError

_PALETTE = ("#e6194b", "#3cb44b", "#0082c8", "#f58231", "#911eb4", "#008080", "#aa6e28", "#800000")
_PER_PIXEL = 1 / 320  # line width as a share of the longer side


def label_of(detection: JsonObject) -> str:
    """The class (yolo) or type (opencv) of a detection."""
    return str(detection.get("class") or detection.get("type") or "?")


def caption(detection: JsonObject) -> str:
    """The label, with the confidence in percent where there is one."""
    confidence = detection.get("confidence")
    label = label_of(detection)
    return label if confidence is None else f"{label} {confidence:.0%}"


def save_annotated(
    image: bytes, detections: Sequence[JsonObject], path: Path, *, field: str = "--save"
) -> None:
    """Write `image` with a box `[x, y, width, height]` and a caption for each detection.

    Boxes are in pixels of the upright picture, so its EXIF orientation is applied first. The
    file's ending chooses the format. Raises SpecError naming `field`.
    """
    try:
        with Image.open(BytesIO(image)) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise SpecError(f"the picture cannot be drawn on: {error}", field=field) from error
    draw = ImageDraw.Draw(picture)
    line = max(2, round(max(picture.size) * _PER_PIXEL))
    font = ImageFont.load_default(size=max(10, line * 5))
    for detection in detections:
        _draw(draw, detection, line=line, font=font)
    try:
        picture.save(path)
    except (ValueError, OSError) as error:
        raise SpecError(f"{field}: {path} cannot be written: {error}", field=field) from error


def _draw(
    draw: ImageDraw.ImageDraw,
    detection: JsonObject,
    *,
    line: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    x, y, width, height = detection["bbox"]
    colour = _PALETTE[zlib.crc32(label_of(detection).encode()) % len(_PALETTE)]
    draw.rectangle((x, y, x + max(width, 1), y + max(height, 1)), outline=colour, width=line)
    text = caption(detection)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    tall = bottom - top + 2 * line
    # Above the box, or inside it where the picture ends.
    above = y - tall if y >= tall else y
    draw.rectangle((x, above, x + right - left + 2 * line, above + tall), fill=colour)
    draw.text((x + line - left, above + line - top), text, fill="white", font=font)
