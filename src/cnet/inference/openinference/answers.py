"""What `/infer` answers: JSON, behind which the bytes of tensors may follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from cnet.inference.openinference.requests import InferRequest
from cnet.inference.replies import Reply
from cnet.inference.tensors import binary, json_values
from cnet.inference.tensors.datatypes import Array, conform, datatype_of


def write(
    request: InferRequest, answers: Mapping[str, Array], *, model: str, version: str
) -> Reply:
    """The reply with all outputs that were asked for, each in the form that was."""
    content: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        content["id"] = request.id
    outputs: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for name, is_binary in request.outputs.items():
        array = conform(answers[name], name=name)
        output: dict[str, Any] = {
            "name": name,
            "datatype": datatype_of(array.dtype),
            "shape": list(array.shape),
        }
        if is_binary:
            tail.append(binary.write(array))
            output["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            output["data"] = json_values.write(array.reshape(-1), name=name)
        outputs.append(output)
    head = orjson.dumps({**content, "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    if not tail:
        return Reply(200, head)
    length = (b"inference-header-content-length", str(len(head)).encode())
    return Reply(200, b"".join((head, *tail)), (length,), media_type=b"application/octet-stream")
