"""What all forms of requests share: the content type, and JSON that is an object."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import Message
from functools import lru_cache

import orjson

from cnet.errors import MalformedError, MediaTypeError, SpecError
from cnet.inference.fields import shown
from cnet.inference.runtime import PredictRequest


@lru_cache(maxsize=64)
def content_type(value: str) -> Message:
    """The header's media type and parameters, not to be changed; `text/plain` where it is none."""
    message = Message()
    message["content-type"] = value.replace("\r", " ").replace("\n", " ")
    return message


@lru_cache(maxsize=64)  # clients say the same again and again
def media_type_and_charset(value: str) -> tuple[str, object]:
    """Both of a header's; the second is None where it names none."""
    header = content_type(value)
    return header.get_content_type(), header.get_param("charset")


def is_json(media_type: str) -> bool:
    """Whether a body of that type is JSON."""
    return media_type == "application/json" or media_type.endswith("+json")


def json_object(body: bytes, charset: object, *, holding: str) -> dict[str, object]:
    """The JSON object in `body`; `holding` names the field that it must have, for the error.

    Raises MalformedError, and MediaTypeError where it cannot be read as `charset`.
    """
    try:
        content = orjson.loads(_utf8(body, charset))
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"the body is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise MalformedError(f"the body must be a JSON object with a field {holding}")
    return content


def request_fields(request: PredictRequest, allowed: Sequence[str]) -> dict[str, object]:
    """The JSON object that was sent, whose fields must be among `allowed`."""
    media_type, charset = media_type_and_charset(request.content_type)
    if not is_json(media_type):
        sent = f"not {media_type}" if request.content_type else "and the request has no type"
        raise MediaTypeError(f"Content-Type must be application/json, {sent}")
    fields = json_object(request.body, charset, holding=allowed[0])
    for name in fields:
        if name not in allowed:
            raise SpecError(
                f"unknown field {shown(name)}; allowed are: {', '.join(allowed)}", field=name
            )
    return fields


def _utf8(body: bytes, charset: object) -> bytes | str:
    """JSON is UTF-8 (RFC 8259); another charset is honoured where it is really named."""
    if not isinstance(charset, str) or charset.lower() in ("utf-8", "utf8", "us-ascii", "ascii"):
        return body
    try:
        return body.decode(charset)
    except (LookupError, ValueError):
        raise MediaTypeError(f"the body cannot be read as charset {charset!r}") from None
