"""A small client of the Open Inference Protocol, written from its specification."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from tests.inference.services import Service

Array = NDArray[Any]
NUMPY = {
    "BOOL": "?", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "u1",
    "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
HEADER = "Inference-Header-Content-Length"


def tensor(name: str, array: Array, datatype: str) -> dict[str, Any]:
    """An input with its data in the JSON."""
    data = array.ravel().tolist()
    if datatype == "BYTES":
        data = [each.decode() for each in data]
    return {
        "name": name, "shape": list(array.shape), "datatype": datatype,
        "data": data,
    }  # fmt: skip


def post(service: Service, path: str, body: Any) -> httpx.Response:
    """Send JSON."""
    return service.client.post(path, json=body)


def post_binary(service: Service, path: str, head: Any, *tail: bytes) -> httpx.Response:
    """Send JSON with bytes behind it."""
    text = json.dumps(head).encode()
    headers = {HEADER: str(len(text)), "Content-Type": "application/octet-stream"}
    return service.client.post(path, content=b"".join((text, *tail)), headers=headers)


def infer(service: Service, model: str, inputs: Mapping[str, tuple[Array, str]]) -> dict[str, Any]:
    """All outputs by JSON."""
    tensors = [tensor(name, array, datatype) for name, (array, datatype) in inputs.items()]
    reply = post(service, f"/v2/models/{model}/infer", {"inputs": tensors})
    assert reply.status_code == 200, reply.text
    return {
        each["name"]: np.array(each["data"], NUMPY.get(each["datatype"], object)).reshape(
            each["shape"]
        )
        for each in reply.json()["outputs"]
    }


def infer_binary(
    service: Service, model: str, inputs: Mapping[str, tuple[Array, str]]
) -> dict[str, Any]:
    """The same with bytes in both directions."""
    parts = {name: encode(array, datatype) for name, (array, datatype) in inputs.items()}
    head = {
        "parameters": {"binary_data_output": True},
        "inputs": [
            {
                "name": name, "shape": list(array.shape), "datatype": datatype,
                "parameters": {"binary_data_size": len(parts[name])},
            }
            for name, (array, datatype) in inputs.items()
        ],
    }  # fmt: skip
    reply = post_binary(service, f"/v2/models/{model}/infer", head, *parts.values())
    assert reply.status_code == 200, reply.text
    return read_binary(reply)


def read_binary(reply: httpx.Response) -> dict[str, Array]:
    """The outputs of a reply whose data are bytes."""
    end = int(reply.headers[HEADER])
    found, at = {}, end
    for each in json.loads(reply.content[:end])["outputs"]:
        size = each["parameters"]["binary_data_size"]
        content = reply.content[at : at + size]
        at += size
        found[each["name"]] = decode(content, each["datatype"]).reshape(each["shape"])
    assert at == len(reply.content)
    return found


def encode(array: Array, datatype: str) -> bytes:
    """Bytes of a tensor."""
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(each)) + each for each in array.ravel())
    return array.astype(NUMPY[datatype]).tobytes()


def decode(content: bytes, datatype: str) -> Array:
    """A tensor of one dimension."""
    if datatype != "BYTES":
        return np.frombuffer(content, NUMPY[datatype])
    found: list[bytes] = []
    while content:
        (size,) = struct.unpack_from("<I", content)
        found.append(content[4 : 4 + size])
        content = content[4 + size :]
    return np.array([*found, None], object)[:-1]
