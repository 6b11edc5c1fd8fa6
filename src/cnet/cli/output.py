"""Plain text and JSON to stdout, notes and errors to stderr. Tables are in `tables`.

With `--json` stdout carries nothing but JSON: one object, or one object a line for streams.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

from cnet.errors import CapacityError, CnetError, ExecutionError, SpecError


def emit_json(value: object) -> None:
    """One JSON value; indented for a person at a terminal, else on one line."""
    indent = 2 if sys.stdout.isatty() else None
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=indent) + "\n")


def emit_json_line(value: object) -> None:
    """One item of a stream, on a line of its own and at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def emit(text: str) -> None:
    """A line for people."""
    sys.stdout.write(text + "\n")


def emit_described(found: Mapping[str, Any]) -> None:
    """Everything known about something, for people."""
    import yaml  # which most commands do not need

    text = yaml.safe_dump(dict(found), sort_keys=False, allow_unicode=True, width=100)
    emit(text.rstrip("\n"))


def emit_bytes(line: bytes) -> None:
    """A workload's own output, unchanged and at once."""
    stream: BinaryIO = sys.stdout.buffer
    sys.stdout.flush()
    stream.write(line + b"\n")
    stream.flush()


def note(text: str) -> None:
    """Something beside the result: to stderr, so that pipes get the result only."""
    sys.stderr.write(text + "\n")


def report(error: CnetError, *, as_json: bool) -> None:
    """An error as one line `error: …` (and its reasons or last log lines), or as the API's JSON."""
    if as_json:
        sys.stderr.write(json.dumps(error_object(error), ensure_ascii=False) + "\n")
        return
    lines = [f"error: {printable(error.message)}"]
    if isinstance(error, CapacityError):
        # The sentence often holds a lone reason already.
        more = [reason for reason in error.reasons if reason not in error.message]
        lines += [f"  {printable(reason)}" for reason in more]
    if isinstance(error, ExecutionError):
        lines += [f"  {printable(line)}" for line in error.log_tail]
    sys.stderr.write("\n".join(lines) + "\n")


def error_object(error: CnetError) -> dict[str, Any]:
    """`{error, details}`, with `field`, `reasons` or `log_tail` where the error has them."""
    body: dict[str, Any] = {"error": error.code, "details": error.message}
    if isinstance(error, SpecError) and error.field:
        body["field"] = error.field
    if isinstance(error, CapacityError):
        body["reasons"] = list(error.reasons)
    if isinstance(error, ExecutionError) and error.log_tail:
        body["log_tail"] = list(error.log_tail)
    return body


def printable(text: object) -> str:
    """`text` on one line, without characters that could steer the terminal."""
    return "".join(char if char.isprintable() else " " for char in str(text))
