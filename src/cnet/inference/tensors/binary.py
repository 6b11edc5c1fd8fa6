"""Arrays as bytes, as the binary tensor data extension of the Open Inference Protocol has them.

Row-major and little-endian; each element of `BYTES` is preceded by its length in four bytes.
"""

from __future__ import annotations

import struct

import numpy as np

from cnet.errors import SpecError
from cnet.inference.tensors.datatypes import DTYPES, Array

_LENGTH = struct.Struct("<I")


def read(content: memoryview, datatype: str, *, field: str) -> Array:
    """The elements in `content` as one row, in place where the machine can read them there.

    Raises SpecError naming `field` where they do not fill it exactly.
    """
    if datatype == "BYTES":
        return _read_bytes(content, field)
    dtype = DTYPES[datatype]
    if len(content) % dtype.itemsize:
        raise SpecError(
            f"{field} has {len(content)} bytes of data; {datatype} takes {dtype.itemsize} bytes "
            "an element",
            field=field,
        )
    # Only copied where it does not lie on an address that such elements may have.
    array: Array = np.require(np.frombuffer(content, dtype), requirements="A")
    if datatype == "BOOL" and array.size and int(array.view(np.uint8).max()) > 1:
        raise SpecError(f"{field} has bytes other than 0 and 1; BOOL has no others", field=field)
    return array


def write(array: Array) -> bytes:
    """The bytes of an array of one of the datatypes."""
    if array.dtype != object:
        return array.tobytes()
    return b"".join(_LENGTH.pack(len(each)) + each for each in array.ravel().tolist())


def _read_bytes(content: memoryview, field: str) -> Array:
    elements: list[bytes] = []
    at = 0
    while at < len(content):
        start = at + _LENGTH.size
        end = start + _LENGTH.unpack_from(content, at)[0] if start <= len(content) else start
        if end > len(content):
            raise SpecError(
                f"{field}: element {len(elements)} of its BYTES ends after the data do", field=field
            )
        elements.append(bytes(content[start:end]))
        at = end
    array = np.empty(len(elements), object)
    array[:] = elements
    return array
