"""Conditional and range requests (RFC 9110, 13 and 14). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from http import HTTPStatus

_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*")
_TAG = re.compile(r'(W/)?"([^"]*)"|(\*)')


class UnsatisfiableError(Exception):
    """The range lies behind the end."""


@dataclass(frozen=True, slots=True)
class Span:
    """Part of the content, or all of it."""

    start: int
    length: int
    partial: bool


def http_date(unix_s: float) -> str:
    """`Sat, 21 Nov 2026 08:30:00 GMT`."""
    return format_datetime(datetime.fromtimestamp(int(unix_s), UTC), usegmt=True)


def judge(headers: Mapping[str, str], etag: str, modified_at: float) -> HTTPStatus | None:
    """304 or 412 where the conditions of a GET or HEAD say so; `etag` without its quotes."""
    if (wanted := headers.get("if-match")) is not None:
        failed = not _lists(wanted, etag, weak=False)
    else:
        since = _date(headers.get("if-unmodified-since"))
        failed = since is not None and int(modified_at) > since
    if failed:
        return HTTPStatus.PRECONDITION_FAILED
    if (unwanted := headers.get("if-none-match")) is not None:
        known = _lists(unwanted, etag, weak=True)
    else:
        since = _date(headers.get("if-modified-since"))
        known = since is not None and int(modified_at) <= since
    return HTTPStatus.NOT_MODIFIED if known else None


def span_of(headers: Mapping[str, str], size: int, etag: str, modified_at: float) -> Span:
    """Which bytes are asked for. Several ranges at once are answered with all of it.

    Raises UnsatisfiableError.
    """
    everything = Span(0, size, partial=False)
    asked = _RANGE.fullmatch(headers.get("range", "").lower())
    if asked is None or not (asked[1] or asked[2]) or not _applies(headers, etag, modified_at):
        return everything
    if not asked[1]:
        length = min(_number(asked[2]), size)
        if not length:
            raise UnsatisfiableError
        return Span(size - length, length, partial=True)
    start = _number(asked[1])
    end = min(_number(asked[2]), size - 1) if asked[2] else size - 1
    if asked[2] and _number(asked[2]) < start:
        return everything  # not a range at all
    if start >= size:
        raise UnsatisfiableError
    return Span(start, end - start + 1, partial=True)


def _number(digits: str) -> int:
    """Numbers of absurd length are larger than any content."""
    return int(digits) if len(digits) <= 19 else 10**19


def _applies(headers: Mapping[str, str], etag: str, modified_at: float) -> bool:
    condition = headers.get("if-range")
    if condition is None:
        return True
    if condition.startswith(('"', "W/")):
        return _lists(condition, etag, weak=False)
    return _date(condition) == int(modified_at)


def _lists(header: str, etag: str, *, weak: bool) -> bool:
    return any(
        star or (tag == etag and (weak or not is_weak))
        for is_weak, tag, star in _TAG.findall(header)
    )


def _date(text: str | None) -> int | None:
    """Unix seconds; None for what is no date, which is to be ignored."""
    if text is None:
        return None
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (TypeError, ValueError, OverflowError):
        return None
