"""Arrays as nested JSON lists.

NaN is `null` in both directions, as JSON has no word for it. Nothing is converted that could change
a value: text is no number, 1.5 no integer, and what is out of range is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from cnet.errors import SpecError
from cnet.inference.tensors.datatypes import DTYPES, Array, as_text

_DEEPEST = 32

_TAKES: dict[str, set[type]] = {
    "BOOL": {bool},
    "BYTES": {str},
    **{name: {int, float, type(None)} for name in ("FP16", "FP32", "FP64")},
}
_WORDS = {
    bool: "true or false", int: "whole numbers", float: "numbers", type(None): "null", str: "text",
    dict: "objects", list: "lists",
}  # fmt: skip


def read(value: object, datatypes: Sequence[str], *, field: str) -> Array:
    """The array that nested lists (or one value) stand for, in the first datatype that holds it.

    Raises SpecError naming `field`.
    """
    depth = _depth(value, field)
    kinds = _kinds(value, depth, field)
    datatype = next((name for name in datatypes if kinds <= _TAKES.get(name, {int})), None)
    if datatype is None:
        found = ", ".join(sorted(_WORDS.get(kind, kind.__name__) for kind in kinds))
        raise SpecError(f"{field} must be {' or '.join(datatypes)}; it holds {found}", field=field)
    try:
        array = _convert(value, datatype)
    except (ValueError, TypeError):
        raise _ragged(field) from None
    except OverflowError:
        raise SpecError(
            f"{field} holds numbers out of the range of {datatype}", field=field
        ) from None
    if array.ndim != depth:
        raise _ragged(field)
    return array


def write(array: Array, *, name: str) -> Any:
    """What orjson writes as nested lists; SpecError for bytes that are not text."""
    if array.dtype == object:
        texts = as_text(array, name=name)
        return texts.tolist()
    return np.ascontiguousarray(array) if array.ndim else array.item()


def _depth(value: object, field: str) -> int:
    depth = 0
    while isinstance(value, list):
        depth += 1
        if depth > _DEEPEST:
            raise SpecError(f"{field} may be lists in lists at most {_DEEPEST} deep", field=field)
        if not value:
            break
        value = value[0]
    return depth


def _kinds(value: Any, depth: int, field: str) -> set[type]:
    """The types of all elements."""
    flat = value if depth else [value]
    for _ in range(depth - 1):
        flat = chain.from_iterable(flat)
    try:
        return set(map(type, flat))
    except TypeError:  # a number where other places have a list
        raise _ragged(field) from None


def _convert(value: Any, datatype: str) -> Array:
    dtype = DTYPES[datatype]
    if datatype == "BYTES":
        array = np.array(value, object)
        if any(isinstance(element, list) for element in array.flat):
            raise ValueError("not the same lengths")
        encoded = np.empty(array.size, object)
        encoded[:] = [element.encode() for element in array.ravel().tolist()]
        return encoded.reshape(array.shape)
    if dtype.kind == "f":
        return _narrow(np.array(value, np.float64), dtype)
    if dtype.kind in "iu":
        return _fit(value, dtype)
    return np.array(value, dtype)


def _narrow(array: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore"):
        narrow = array.astype(dtype)
    if np.isinf(narrow).any():
        raise OverflowError
    return narrow


def _fit(value: Any, dtype: np.dtype[Any]) -> Array:
    limits = np.iinfo(dtype)
    # NumPy would make floats of a list with both, and older versions wrap what is negative.
    wide = np.array(value, object if dtype == np.uint64 else np.int64)
    if wide.size and (int(wide.min()) < limits.min or int(wide.max()) > limits.max):
        raise OverflowError
    return wide.astype(dtype)


def _ragged(field: str) -> SpecError:
    return SpecError(f"{field} must be lists of the same lengths at each depth", field=field)
