"""The datatypes of the Open Inference Protocol, and the arrays that hold them.

`BYTES` is an object array of `bytes`; text in it is UTF-8. Everything else is little-endian.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnet.errors import ExecutionError, SpecError

Array = NDArray[Any]

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}

NUMBERS = tuple(name for name in DTYPES if name not in {"BOOL", "BYTES"})

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def datatype_of(dtype: np.dtype[Any]) -> str | None:
    """The datatype of arrays of `dtype`; None where the protocol has no word for it."""
    return "BYTES" if dtype.kind in "OUS" else _NAMES.get(dtype.newbyteorder("<"))


def conform(answer: object, *, name: str) -> Array:
    """What a model answers for output `name`, as an array of one of the datatypes.

    Raises ExecutionError where it is none.
    """
    array = np.asarray(answer)
    datatype = datatype_of(array.dtype)
    if datatype is None:
        raise ExecutionError(
            f"output {name} is {array.dtype}, which has no datatype; there are: "
            f"{', '.join(DTYPES)}",
            code="model_failed",
        )
    if datatype == "BYTES":
        return _elementwise(array, lambda element: _as_bytes(element, name))
    return array.astype(DTYPES[datatype], copy=False)


def as_text(array: Array, *, name: str) -> Array:
    """A `BYTES` array with text in the place of bytes; SpecError where it is not UTF-8."""

    def decode(element: bytes) -> str:
        try:
            return element.decode()
        except UnicodeDecodeError:
            raise SpecError(f"{name} holds bytes that are not UTF-8 text", field=name) from None

    return _elementwise(array, decode)


def _as_bytes(element: object, name: str) -> bytes:
    if isinstance(element, bytes):
        return element
    if isinstance(element, str):
        return element.encode("utf-8", "surrogatepass")
    raise ExecutionError(
        f"output {name} holds {type(element).__name__}; allowed are numbers, text and bytes",
        code="model_failed",
    )


def _elementwise(array: Array, change: Any) -> Array:
    changed = np.empty(array.size, object)
    changed[:] = [change(element) for element in array.ravel().tolist()]
    return changed.reshape(array.shape)
