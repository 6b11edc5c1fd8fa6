"""The three forms in which a picture is sent: JSON, multipart form, raw bytes.

All end in the same `ImageRequest`. What a body holds beyond that is refused by name, so that a
misspelt parameter is never silently a default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import pybase64

from cnet.errors import MalformedError, MediaTypeError, SpecError
from cnet.inference.bodies import content_type, is_json, json_object
from cnet.inference.fields import Parameter, check
from cnet.inference.images.multipart import Part, read_parts
from cnet.inference.runtime import PredictRequest

_FORMS = (
    "application/json with a base64 image, multipart/form-data with a file field image, "
    "or image/* (also application/octet-stream) with the bytes of the picture"
)
_MOST_QUERY_FIELDS = 32


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """An encoded picture and the checked values of all parameters."""

    image: bytes
    values: Mapping[str, Any]


def parse(request: PredictRequest, parameters: Sequence[Parameter]) -> ImageRequest:
    """Read `request` whichever form it has.

    Raises MediaTypeError (another form), MalformedError (not what its type says, or no picture)
    and SpecError (a field that is unknown, missing or out of range).
    """
    header = content_type(request.content_type)
    media_type = header.get_content_type()
    if is_json(media_type):
        fields = json_object(request.body, header.get_param("charset"), holding="image")
        image = _decode_base64(fields.pop("image", None))
    elif media_type == "multipart/form-data":
        image, fields = _form_fields(read_parts(request.body, header.get_param("boundary")))
    elif media_type.startswith("image/") or media_type == "application/octet-stream":
        return ImageRequest(_filled(request.body), check(_query(request.query), parameters))
    else:
        sent = f"not {media_type}" if request.content_type else "and the request has no type"
        raise MediaTypeError(f"Content-Type must be {_FORMS}, {sent}")
    if request.query:
        name = next(iter(_query(request.query)), request.query)
        raise SpecError(
            f"{name} is in the address; with {media_type} all fields belong into the body",
            field=name,
        )
    return ImageRequest(image, check(fields, parameters))


def request_bodies(parameters: Sequence[Parameter]) -> Mapping[str, Mapping[str, Any]]:
    """JSON schemas of the three forms, by media type."""
    fields = {parameter.name: dict(parameter.schema()) for parameter in parameters}
    image = {"type": "string", "contentEncoding": "base64"}
    whole = {"type": "string", "format": "binary"}
    return {
        "application/json": _object({"image": image, **fields}),
        "multipart/form-data": _object({"image": whole, **fields}),
        "image/*": whole,
    }


def query_parameters(parameters: Sequence[Parameter]) -> Mapping[str, Mapping[str, Any]]:
    """JSON schemas of what the address may carry beside a body that is the picture itself."""
    return {parameter.name: parameter.schema() for parameter in parameters}


def _object(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": ["image"],
        "additionalProperties": False,
    }


def _decode_base64(value: object) -> bytes:
    """The bytes of a base64 text or of a `data:` URL with base64 in it."""
    if value is None:
        raise _missing()
    if not isinstance(value, str):
        raise SpecError("image must be a text: base64 or a data: URL", field="image")
    if value[:5].lower() == "data:":
        kind, comma, value = value.partition(",")
        if not comma or not kind.lower().endswith(";base64"):
            raise _bad_base64("a data: URL must have the form data:image/…;base64,…")
    try:
        return _filled(pybase64.b64decode(value, validate=True))
    except MalformedError:
        raise
    except ValueError:
        return _filled(_decode_wrapped_base64(value))


def _decode_wrapped_base64(value: str) -> bytes:
    """The same for text with line breaks, as command-line tools write it."""
    try:
        return pybase64.b64decode("".join(value.split()), validate=True)
    except ValueError:
        raise _bad_base64("image is not base64") from None


def _form_fields(parts: Sequence[Part]) -> tuple[bytes, dict[str, object]]:
    """The picture of the file field `image` (or `file`) and the texts of the others."""
    image: bytes | None = None
    fields: dict[str, object] = {}
    for part in parts:
        if part.name in ("image", "file"):
            if image is not None:
                raise SpecError("there is more than one picture; send one", field=part.name)
            image = part.content
        elif part.name in fields:
            raise SpecError(f"{part.name!r} is given twice", field=part.name)
        else:
            fields[part.name] = part.content.decode("utf-8", "replace").strip()
    if image is None:
        raise _missing()
    return _filled(image), fields


def _query(query: str) -> dict[str, object]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_QUERY_FIELDS)
    except ValueError:
        raise SpecError(
            f"the address may carry at most {_MOST_QUERY_FIELDS} fields", field="query"
        ) from None
    fields: dict[str, object] = {}
    for name, value in pairs:
        if name in fields:
            raise SpecError(f"{name!r} is given twice", field=name)
        fields[name] = value
    return fields


def _filled(image: bytes) -> bytes:
    if not image:
        raise _bad_base64("the picture is empty (0 bytes)")
    return image


def _missing() -> SpecError:
    return SpecError("image is missing: send the picture in the field image", field="image")


def _bad_base64(sentence: str) -> MalformedError:
    return MalformedError(sentence, field="image", code="bad_image")
