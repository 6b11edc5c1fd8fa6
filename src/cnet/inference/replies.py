"""JSON replies and the one table from errors to HTTP status codes of the inference services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from cnet import errors

RETRY_AFTER_S = 1

# The first class that fits decides, so the narrower ones stand first.
_STATUS: tuple[tuple[type[errors.CnetError], int], ...] = (
    (errors.MalformedError, 400),
    (errors.MediaTypeError, 415),
    (errors.TooLargeError, 413),
    (errors.SpecError, 422),
    (errors.NotFoundError, 404),
    (errors.DeadlineError, 504),
    (errors.TransientError, 429),
)

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer: status, extra headers, and a body, which is JSON unless said otherwise.

    `code` is the word of the error that it tells of.
    """

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    media_type: bytes = b"application/json"
    code: str = ""

    def all_headers(self) -> Headers:
        """The extra headers with type and length, as ASGI wants them."""
        length = str(len(self.body)).encode()
        return [
            (b"content-type", self.media_type),
            (b"content-length", length),
            *self.headers,
        ]


def success(content: Mapping[str, Any]) -> Reply:
    """Status 200 with `content`; NumPy numbers are written as plain ones.

    Raises ExecutionError where JSON cannot carry it.
    """
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
    try:
        return Reply(200, orjson.dumps(content, option=options))
    except TypeError as error:
        raise errors.ExecutionError(
            f"the answer cannot be written as JSON: {error}", code="model_failed"
        ) from error


def failure(error: errors.CnetError) -> Reply:
    """The reply for `error`: its stable code, its sentence, the status of its class."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    headers = ((b"retry-after", str(RETRY_AFTER_S).encode()),) if status == 429 else ()
    return problem(status, error.code, error.message, headers)


def problem(
    status: int, code: str, details: str, headers: Iterable[tuple[bytes, bytes]] = ()
) -> Reply:
    """An error reply as every HTTP edge of CNET gives it."""
    # A sentence that quotes the client may hold lone surrogates, which JSON cannot carry.
    clean = details.encode("utf-8", "replace").decode()
    body = orjson.dumps({"error": code, "details": clean}, option=orjson.OPT_APPEND_NEWLINE)
    return Reply(status, body, tuple(headers), code=code)


def open_inference_error(reply: Reply) -> Reply:
    """An error reply as the Open Inference Protocol has it: the sentence is called `error`."""
    told = orjson.loads(reply.body)
    body = orjson.dumps({"error": told["details"], "code": told["error"]})
    return replace(reply, body=body + b"\n")
