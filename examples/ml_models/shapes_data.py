"""Pictures of circles, squares, triangles and stars on busy grounds, with their boxes.

The generator feeds the training and the evaluation of the example detector. It needs NumPy and
OpenCV only, reads no file, and gives the same picture for the same seed and size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CLASSES = ("circle", "square", "triangle", "star")

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Points = NDArray[np.float64]
Colour = tuple[int, int, int]

MIN_VISIBLE = 0.4  # a shape showing less than this part of itself has no box
_MIN_VISIBLE_PLACED = 0.6  # shapes are placed so that each keeps at least this part
_MAX_BOX_OVERLAP = 0.3  # IoU between two boxes; more could not survive any NMS
_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Picture:
    """One picture and its truth.

    `image`: uint8 [H, W, 3], BGR. `boxes`: int64 [N, 4], x, y, w, h in pixels, inside the
    picture. `labels`: int64 [N], index into `CLASSES`. N may be 0 only if clutter hid everything.
    """

    image: Image
    boxes: NDArray[np.int64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class _Shape:
    label: int
    box: tuple[int, int, int, int]
    mask: Mask
    full_area: float  # pixels, counting what lies outside the picture


def generate(seed: int, size: int = 320) -> Picture:
    """Draw the picture of `seed`, `size` pixels square, holding one to six shapes.

    Boxes are tight around the whole outline, hidden parts included, clipped to the picture.
    """
    rng = np.random.default_rng(seed)
    canvas = _draw_ground(rng, size)
    for _ in range(rng.integers(0, 9)):
        _draw_clutter(rng, canvas)
    shapes: list[_Shape] = []
    for _ in range(rng.integers(1, 7)):
        shape = _place_shape(rng, canvas, shapes)
        if shape is not None:
            shapes.append(shape)
    covered = np.zeros((size, size), np.bool_)
    if rng.random() < 0.3:
        covered = _draw_thin_foreground(rng, canvas)
    kept = [shape for shape in shapes if _visible_part(shape, shapes, covered) >= MIN_VISIBLE]
    return Picture(
        image=_photograph(rng, canvas),
        boxes=np.array([shape.box for shape in kept], np.int64).reshape(-1, 4),
        labels=np.array([shape.label for shape in kept], np.int64),
    )


def _visible_part(shape: _Shape, shapes: list[_Shape], covered: Mask) -> float:
    """0 to 1: what is left of `shape` under all later shapes and the foreground."""
    hidden = covered.copy()
    for later in shapes[shapes.index(shape) + 1 :]:
        hidden |= later.mask
    return float((shape.mask & ~hidden).sum()) / max(shape.full_area, 1.0)


# --- shapes -----------------------------------------------------------------------------------


def _place_shape(rng: np.random.Generator, canvas: Image, placed: list[_Shape]) -> _Shape | None:
    """Draw one shape where it hides little of the others; None when no place was found."""
    size = canvas.shape[0]
    label = int(rng.integers(len(CLASSES)))
    for _ in range(12):
        radius = size * float(np.exp(rng.uniform(np.log(0.04), np.log(0.35))))
        outline = _OUTLINES[label](rng) * radius
        centre = rng.uniform(-0.02 * size, 1.02 * size, 2)
        shape = _make_shape(label, outline + centre, size)
        if _fits(shape, placed):
            _paint_shape(rng, canvas, outline + centre, shape.mask)
            return shape
    return None


def _make_shape(label: int, outline: Points, size: int) -> _Shape:
    low = np.clip(np.floor(outline.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(outline.max(axis=0)), 0, size).astype(int)
    x, y = outline[:, 0], outline[:, 1]
    area = 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
    return _Shape(
        label=label,
        box=(int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])),
        mask=_fill_mask(outline, size) > 127,
        full_area=area,
    )


def _fits(shape: _Shape, placed: list[_Shape]) -> bool:
    """Whether the new shape stays in the picture and leaves those below it recognisable."""
    if min(shape.box[2:]) < 10 or shape.mask.sum() < 0.8 * shape.full_area:
        return False
    if any(_box_iou(shape.box, other.box) > _MAX_BOX_OVERLAP for other in placed):
        return False
    covered = np.zeros_like(shape.mask)
    together = [*placed, shape]
    return all(
        _visible_part(other, together, covered) >= _MIN_VISIBLE_PLACED
        for other in placed
        if (other.mask & shape.mask).any()
    )


def _box_iou(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def _paint_shape(rng: np.random.Generator, canvas: Image, outline: Points, mask: Mask) -> None:
    """Fill (mostly), or draw as a thick outline, in colours that stand out from the ground."""
    ground = canvas[mask].mean(axis=0)
    colour = _contrasting_colour(rng, ground)
    extent = float(np.ptp(outline, axis=0).max())
    style = rng.random()
    if style < 0.88:
        _blend(canvas, _fill_mask(outline, canvas.shape[0]), _shade(rng, canvas, colour))
    if style > 0.72:
        line = max(2, round(extent * rng.uniform(0.05, 0.12)))
        if style < 0.88:
            colour = _contrasting_colour(rng, np.array(colour, np.float64))
        inner = outline.mean(axis=0) + (outline - outline.mean(axis=0)) * (1 - line / extent)
        cv2.polylines(
            canvas, [_fixed_point(inner)], True, colour, line, cv2.LINE_AA, _SUBPIXEL_BITS
        )


def _shade(rng: np.random.Generator, canvas: Image, colour: Colour) -> Image:
    """The paint: one colour, a gradient towards another brightness, or faint stripes."""
    size = canvas.shape[0]
    paint = np.full((size, size, 3), colour, np.float32)
    kind = rng.random()
    if kind < 0.3:
        paint *= (1 + rng.uniform(-0.35, 0.35) * _ramp(rng, size))[..., None]
    elif kind < 0.4:
        period = rng.uniform(0.02, 0.06)
        paint *= (1 + 0.2 * np.sign(np.sin(_ramp(rng, size) * np.pi / period)))[..., None]
    return np.clip(paint, 0, 255).astype(np.uint8)


def _circle(rng: np.random.Generator) -> Points:
    return _regular(72, rng) * rng.uniform(0.96, 1.04, 2)


def _square(rng: np.random.Generator) -> Points:
    half = np.array([1.0, rng.uniform(0.92, 1.08)]) / np.sqrt(2)
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
    upright = rng.random() < 0.3
    turned: Points = corners @ _rotation(0.0 if upright else rng.uniform(0, 2 * np.pi)).T
    return turned


def _triangle(rng: np.random.Generator) -> Points:
    """Three corners on the circle, never closer than 75 degrees: no angle under 37 degrees."""
    spare = 2 * np.pi - 3 * np.radians(75)
    gaps = np.radians(75) + spare * rng.dirichlet((2.0, 2.0, 2.0))
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(gaps)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _star(rng: np.random.Generator) -> Points:
    tips = int(rng.choice((4, 5, 5, 5, 5, 5, 6)))
    outline = _regular(2 * tips, rng)
    outline[1::2] *= rng.uniform(0.36, 0.5)
    return outline


_OUTLINES: tuple[Callable[[np.random.Generator], Points], ...] = (
    _circle,
    _square,
    _triangle,
    _star,
)


def _regular(corners: int, rng: np.random.Generator) -> Points:
    angles = rng.uniform(0, 2 * np.pi) + np.arange(corners) * (2 * np.pi / corners)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _rotation(angle: float) -> Points:
    return np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])


# --- ground and clutter -----------------------------------------------------------------------


def _draw_ground(rng: np.random.Generator, size: int) -> Image:
    """A plain, graded, cloudy, striped or tiled ground."""
    first, second = (np.array(_any_colour(rng), np.float32) for _ in range(2))
    second = first + (second - first) * float(rng.uniform(0.2, 1.0))
    kind = rng.integers(5)
    mix: cv2.typing.MatLike  # float32 [size, size], 0 = first colour, 1 = second
    if kind == 0:
        mix = np.zeros((size, size), np.float32)
    elif kind == 1:
        mix = (_ramp(rng, size) + 1) / 2
    elif kind == 2:
        cells = int(rng.integers(3, 20))
        mix = cv2.resize(
            rng.random((cells, cells), np.float32), (size, size), interpolation=cv2.INTER_CUBIC
        )
    elif kind == 3:
        mix = (0.5 + 0.25 * np.sin(_ramp(rng, size) * rng.uniform(6, 60))).astype(np.float32)
    else:
        cells = int(rng.integers(3, 9))
        mix = cv2.resize(
            0.6 * rng.random((cells, cells), np.float32),
            (size, size),
            interpolation=cv2.INTER_NEAREST,
        )
    ground = first + (second - first) * mix[..., None]
    return np.clip(ground, 0, 255).astype(np.uint8)


def _draw_clutter(rng: np.random.Generator, canvas: Image) -> None:
    """One thing that is none of the four classes."""
    size = canvas.shape[0]
    colour = _any_colour(rng)
    kind = rng.integers(6)
    if kind == 0:
        _draw_line(rng, canvas, colour)
    elif kind == 1:
        for _ in range(rng.integers(2, 12)):
            centre = _fixed_point(rng.uniform(0, size, 2)).tolist()
            radius = int(size * rng.uniform(0.003, 0.011) * (1 << _SUBPIXEL_BITS))
            cv2.circle(canvas, centre, radius, colour, -1, cv2.LINE_AA, _SUBPIXEL_BITS)
    elif kind == 2:
        text = "".join(chr(code) for code in rng.integers(48, 91, rng.integers(2, 8)))
        place = (int(rng.uniform(-0.1, 0.8) * size), int(rng.uniform(0.1, 1.0) * size))
        scale = size / 320 * rng.uniform(0.4, 1.3)
        cv2.putText(canvas, text, place, int(rng.integers(0, 8)), scale, colour, 1, cv2.LINE_AA)
    else:
        _draw_distractor(rng, canvas, colour)


def _draw_distractor(rng: np.random.Generator, canvas: Image, colour: Colour) -> None:
    """A long ellipse, long rectangle, pentagon, hexagon or cross, plain or as an outline."""
    size = canvas.shape[0]
    kind = rng.integers(5)
    radius = size * rng.uniform(0.05, 0.18)
    if kind == 0:
        outline = _regular(60, rng) * (1.0, rng.uniform(0.2, 0.5))
    elif kind == 1:
        thin = rng.uniform(0.1, 0.45)
        outline = np.array([(-1, -thin), (1, -thin), (1, thin), (-1, thin)])
    elif kind == 2:
        outline = _regular(int(rng.integers(5, 7)), rng)
        radius = max(radius, size * 0.09)  # smaller ones look like circles
    elif kind == 3:
        outline = _regular(5, rng) * (1.0, rng.uniform(0.35, 0.6))
    else:
        arm = rng.uniform(0.12, 0.3)
        quarter = np.array([(arm, arm), (arm, 1.0), (-arm, 1.0)])
        outline = np.concatenate([quarter @ _rotation(turn * np.pi / 2).T for turn in range(4)])
    outline = outline @ _rotation(rng.uniform(0, 2 * np.pi)).T * radius
    outline = outline + rng.uniform(0, size, 2)
    if rng.random() < 0.75:
        _blend(canvas, _fill_mask(outline, size), _shade(rng, canvas, colour))
    else:
        cv2.polylines(canvas, [_fixed_point(outline)], True, colour, 2, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_line(rng: np.random.Generator, canvas: Image, colour: Colour) -> None:
    size = canvas.shape[0]
    start, end = _fixed_point(rng.uniform(-0.1 * size, 1.1 * size, (2, 2))).tolist()
    width = int(rng.integers(1, 5))
    cv2.line(canvas, start, end, colour, width, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_thin_foreground(rng: np.random.Generator, canvas: Image) -> Mask:
    """Draw one to three lines over everything; returns the pixels they changed."""
    before = canvas.copy()
    for _ in range(rng.integers(1, 4)):
        _draw_line(rng, canvas, _any_colour(rng))
    return np.asarray((before != canvas).any(axis=2), np.bool_)


# --- light, lens and sensor -------------------------------------------------------------------


def _photograph(rng: np.random.Generator, canvas: Image) -> Image:
    """Vary sharpness, light and noise as a camera would."""
    image: cv2.typing.MatLike = canvas
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.4)))
    light = image.astype(np.float32)
    light = (light - 127) * float(rng.uniform(0.7, 1.15)) + 127 + float(rng.uniform(-30, 30))
    if rng.random() < 0.3:
        light *= (1 + float(rng.uniform(-0.3, 0.3)) * _ramp(rng, canvas.shape[0]))[..., None]
    if rng.random() < 0.08:
        light = np.repeat(light.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.6:
        noise = rng.standard_normal(light.shape, np.float32)
        light += noise * float(rng.uniform(1, 14))
    image = np.clip(light, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = int(rng.integers(40, 95))
        _, coded = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
        image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
    return np.asarray(image, np.uint8)


# --- drawing ----------------------------------------------------------------------------------


def _fixed_point(points: Points) -> NDArray[np.int32]:
    return np.round(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def _fill_mask(outline: Points, size: int) -> Image:
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [_fixed_point(outline)], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    return mask


def _blend(canvas: Image, mask: Image, paint: Image) -> None:
    weight = mask[..., None].astype(np.float32) / 255
    canvas[:] = np.round(canvas + (paint.astype(np.float32) - canvas) * weight).astype(np.uint8)


def _ramp(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """float32 [size, size], about -1 to 1, rising in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    ramp = axis[None, :] * np.cos(angle) + axis[:, None] * np.sin(angle)
    return np.asarray(ramp / (abs(np.cos(angle)) + abs(np.sin(angle))), np.float32)


def _any_colour(rng: np.random.Generator) -> Colour:
    """Any colour; every fourth one is black, white, a primary or a mixture of primaries."""
    pure = rng.random() < 0.25
    blue, green, red = rng.choice((0, 128, 255), 3) if pure else rng.integers(0, 256, 3)
    return int(blue), int(green), int(red)


def _contrasting_colour(rng: np.random.Generator, ground: NDArray[np.float64]) -> Colour:
    """A colour clearly unlike `ground` (BGR), also when seen in grey."""
    colour = _any_colour(rng)
    for _ in range(50):
        difference = np.array(colour) - ground
        grey = abs(float(difference @ (0.114, 0.587, 0.299)))
        if grey > 30 and float(np.abs(difference).sum()) > 140:
            break
        colour = _any_colour(rng)
    return colour
