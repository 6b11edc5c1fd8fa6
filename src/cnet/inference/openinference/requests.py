"""What is sent to `/infer`: JSON, behind which the bytes of tensors may follow.

What the protocol leaves open (parameters nobody knows) is ignored, as it asks for; what would
change the answer and is not served (shared memory, classification) is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnet.errors import MalformedError, MediaTypeError, SpecError
from cnet.inference.bodies import content_type, is_json, json_object
from cnet.inference.fields import shown
from cnet.inference.runtime import PredictRequest, Signature, TensorSpec
from cnet.inference.tensors import binary, json_values
from cnet.inference.tensors.datatypes import DTYPES, Array
from cnet.inference.tensors.signatures import check_shape, find, require_all, taken

HEADER_LENGTH = "inference-header-content-length"
_BINARY = "application/octet-stream"
_LARGEST_SIZE = 2**31 - 1
_LARGEST_EMPTY = 1 << 24
_MOST_DIMENSIONS = 32
_FIELDS = ("id", "parameters", "inputs", "outputs")
_INPUT_FIELDS = ("name", "shape", "datatype", "parameters", "data")
_OUTPUT_FIELDS = ("name", "parameters")
_NOT_SERVED = ("shared_memory_region", "classification")


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request that fits the model. `outputs` tells of each whether it is wanted as bytes."""

    id: str | None
    inputs: Mapping[str, Array]
    outputs: Mapping[str, bool]


def read(request: PredictRequest, signature: Signature) -> InferRequest:
    """Understand `request`; SpecError, or a class below it, naming what is wrong."""
    header, rest = _split(request)
    _refuse_unknown(header, _FIELDS, "the request")
    name = header.get("id")
    if name is not None and not isinstance(name, str):
        raise SpecError("id must be text", field="id")
    parameters = _parameters(header, "parameters")
    return InferRequest(
        id=name,
        inputs=_inputs(header.get("inputs"), signature.inputs, rest),
        outputs=_outputs(header.get("outputs"), signature, parameters),
    )


def _split(request: PredictRequest) -> tuple[dict[str, Any], memoryview]:
    """The JSON object, and the bytes behind it."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise MediaTypeError(f"Content-Encoding {encoding} is not taken; send the body as it is")
    kind = content_type(request.content_type or "application/json")
    media_type = kind.get_content_type()
    if not is_json(media_type) and media_type != _BINARY:
        raise MediaTypeError(
            f"Content-Type must be application/json or {_BINARY}, not {media_type}"
        )
    length = request.headers.get(HEADER_LENGTH)
    if length is None and not is_json(media_type):
        raise MalformedError(
            f"a body of {_BINARY} needs the header Inference-Header-Content-Length: the number of "
            "bytes of the JSON that it begins with"
        )
    end = len(request.body) if length is None else _length(length, len(request.body))
    header = json_object(request.body[:end], kind.get_param("charset"), holding="inputs")
    return header, memoryview(request.body)[end:]


def _length(text: str, size: int) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    if not 0 <= number <= size:
        raise MalformedError(
            "Inference-Header-Content-Length must be a whole number up to the length of the body, "
            f"{size}, not {text[:40]!r}"
        )
    return number


def _inputs(sent: object, specs: Sequence[TensorSpec], rest: memoryview) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    at = 0
    for index, tensor in enumerate(_objects(sent, "inputs")):
        field = f"inputs[{index}]"
        _refuse_unknown(tensor, _INPUT_FIELDS, field)
        spec = find(specs, tensor.get("name"), field=f"{field}.name")
        if spec.name in arrays:
            raise SpecError(f"{field}.name: {spec.name!r} is given twice", field=field)
        datatype = _datatype(tensor.get("datatype"), spec, f"{field}.datatype")
        shape = _shape(tensor.get("shape"), f"{field}.shape")
        check_shape(shape, spec, field=f"{field}.shape")
        size = _binary_size(tensor, field)
        if size is None:
            elements = _listed(tensor, datatype, shape, field)
        else:
            if size > len(rest) - at:
                raise SpecError(
                    f"{field}: binary_data_size is {size}, but {len(rest) - at} bytes are left "
                    "of the body",
                    field=field,
                )
            elements = binary.read(rest[at : at + size], datatype, field=field)
            at += size
        arrays[spec.name] = _reshaped(elements, shape, field)
    if at != len(rest):
        raise SpecError(
            f"{len(rest) - at} bytes behind the JSON belong to no input", field="inputs"
        )
    require_all(specs, arrays, field="inputs")
    return arrays


def _binary_size(tensor: Mapping[str, Any], field: str) -> int | None:
    """The number of bytes of an input behind the JSON; None where its data are in it."""
    size = _parameters(tensor, f"{field}.parameters").get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise SpecError(f"{field}.parameters.binary_data_size must be a whole number", field=field)
    if "data" in tensor:
        raise SpecError(f"{field} has data and binary_data_size; give one of them", field=field)
    return size


def _listed(tensor: Mapping[str, Any], datatype: str, shape: Sequence[int], field: str) -> Array:
    """Data in the JSON: one row, or lists nested as the shape says."""
    data = tensor.get("data")
    if not isinstance(data, list):
        raise SpecError(
            f"{field}.data must be a list, or parameters.binary_data_size be set", field=field
        )
    elements = json_values.read(data, [datatype], field=f"{field}.data")
    if elements.ndim != 1 and list(elements.shape) != list(shape):
        raise SpecError(
            f"{field}.data has the shape {list(elements.shape)}, not {list(shape)}", field=field
        )
    return elements


def _reshaped(elements: Array, shape: Sequence[int], field: str) -> Array:
    if elements.size != math.prod(shape):
        raise SpecError(
            f"{field} has {elements.size} elements; its shape {list(shape)} is {math.prod(shape)}",
            field=field,
        )
    return elements.reshape(shape)


def _outputs(sent: object, signature: Signature, parameters: Mapping[str, Any]) -> dict[str, bool]:
    default = _flag(parameters, "binary_data_output", "parameters", default=False)
    if sent is None or sent == []:
        return dict.fromkeys(signature.default_outputs, default)
    wanted: dict[str, bool] = {}
    for index, each in enumerate(_objects(sent, "outputs")):
        field = f"outputs[{index}]"
        _refuse_unknown(each, _OUTPUT_FIELDS, field)
        name = find(signature.outputs, each.get("name"), field=f"{field}.name").name
        own = _parameters(each, f"{field}.parameters")
        wanted[name] = _flag(own, "binary_data", f"{field}.parameters", default=default)
    return wanted


def _datatype(value: object, spec: TensorSpec, field: str) -> str:
    allowed = taken(spec)
    if isinstance(value, str) and value in allowed:
        return value
    known = "" if isinstance(value, str) and value in DTYPES else ", which is none"
    raise SpecError(
        f"{field} must be {' or '.join(allowed)}, not {shown(value)}{known}", field=field
    )


def _shape(value: object, field: str) -> list[int]:
    sizes: list[Any] = value if isinstance(value, list) else [None]
    if len(sizes) > _MOST_DIMENSIONS or not all(
        type(size) is int and 0 <= size <= _LARGEST_SIZE for size in sizes
    ):
        raise SpecError(
            f"{field} must be a list of at most {_MOST_DIMENSIONS} whole numbers from 0 to "
            f"{_LARGEST_SIZE}",
            field=field,
        )
    # A model may make much of an empty tensor: [1, 0] times [0, n] has n elements.
    if 0 in sizes and math.prod(size for size in sizes if size) > _LARGEST_EMPTY:
        raise SpecError(
            f"{field}: the other sizes of an empty tensor may be {_LARGEST_EMPTY} together",
            field=field,
        )
    return sizes


def _objects(value: object, field: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise SpecError(f"{field} must be a list of objects", field=field)
    return value


def _parameters(holder: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise SpecError(f"{field} must be an object", field=field)
    for name in _NOT_SERVED:
        if name in parameters:
            raise SpecError(f"{field}.{name} is not served here", field=field)
    return parameters


def _flag(parameters: Mapping[str, Any], name: str, field: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise SpecError(f"{field}.{name} must be true or false", field=f"{field}.{name}")
    return value


def _refuse_unknown(holder: Mapping[str, Any], allowed: Sequence[str], where: str) -> None:
    for name in holder:
        if name not in allowed:
            raise SpecError(
                f"{where} has an unknown field {shown(name)}; allowed are: {', '.join(allowed)}",
                field=name,
            )
