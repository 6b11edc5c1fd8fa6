"""Names of classes and other words that exporters leave in a model's metadata.

Ultralytics (v5 to v12) writes `names`, `stride`, `imgsz`, `task` as Python literals in text. They
come from whoever made the file: they are parsed as literals, never evaluated, and what is not as
expected is ignored with a warning.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Mapping
from dataclasses import dataclass

_LOGGER = logging.getLogger(__name__)
_LONGEST_TEXT = 1_000_000
_MOST_CLASSES = 100_000


@dataclass(frozen=True, slots=True)
class ModelNotes:
    """What the metadata says; None or empty where it says nothing usable.

    `names` by class index, `stride` in pixels, `size` = (height, width) in pixels.
    """

    names: Mapping[int, str]
    stride: int | None = None
    size: tuple[int, int] | None = None
    task: str | None = None
    is_end_to_end: bool = False


def read_notes(metadata: Mapping[str, str]) -> ModelNotes:
    """The notes in an ONNX file's custom metadata."""
    stride = _literal(metadata, "stride")
    end_to_end = metadata.get("end2end", "").strip().lower() in ("true", "1")
    return ModelNotes(
        names=_names(_literal(metadata, "names")),
        stride=stride if _is_side(stride) and isinstance(stride, int) else None,
        size=_size(_literal(metadata, "imgsz")),
        task=metadata.get("task") or None,
        is_end_to_end=end_to_end,
    )


def from_list(labels: str) -> dict[int, str]:
    """`a,b,c` as given on the command line."""
    return {index: name.strip() for index, name in enumerate(labels.split(","))}


def label_of(names: Mapping[int, str], index: int) -> str:
    """The name of class `index`, or `class_<index>` where the model carries none."""
    return names.get(index) or f"class_{index}"


def _literal(metadata: Mapping[str, str], key: str) -> object:
    text = metadata.get(key)
    if text is None:
        return None
    try:
        if len(text) > _LONGEST_TEXT:
            raise ValueError(f"{len(text)} characters")
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        _LOGGER.warning("the model's metadata %r is ignored: %s", key, error)
        return None


def _names(value: object) -> dict[int, str]:
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > _MOST_CLASSES:
        _LOGGER.warning("the model's metadata 'names' is ignored: no list or table of names")
        return {}
    good = {k: v for k, v in value.items() if type(k) is int and k >= 0 and isinstance(v, str)}
    if len(good) != len(value):
        _LOGGER.warning("%d names of classes are ignored", len(value) - len(good))
    return good


def _size(value: object) -> tuple[int, int] | None:
    if _is_side(value) and isinstance(value, int):
        return value, value
    if isinstance(value, list | tuple) and len(value) == 2 and all(_is_side(v) for v in value):
        return int(value[0]), int(value[1])
    return None


def _is_side(value: object) -> bool:
    return type(value) is int and 0 < value <= 8192
