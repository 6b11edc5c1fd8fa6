"""Conditional requests and ranges, as RFC 9110 and S3 read them."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from cnet.gateway.errors import S3Error
from cnet.storage.base import Condition, FileInfo

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_COPY_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})")

HeaderOf = Callable[[bytes], str | None]


def check_read(header: HeaderOf, file: FileInfo, *, prefix: bytes = b"") -> bool:
    """Whether the file is to be sent; False means 304. Raises S3Error PreconditionFailed.

    `prefix` is `x-amz-copy-source-` for the source of a copy.
    """
    if_match = header(prefix + b"if-match")
    if if_match is not None:
        if not _matches(if_match, file.etag):
            raise _failed("If-Match")
    else:
        since = _moment(header(prefix + b"if-unmodified-since"))
        if since is not None and int(file.modified_at) > since:
            raise _failed("If-Unmodified-Since")
    if_none_match = header(prefix + b"if-none-match")
    if if_none_match is not None:
        return not _matches(if_none_match, file.etag)
    since = _moment(header(prefix + b"if-modified-since"))
    return since is None or int(file.modified_at) > since


def of_write(header: HeaderOf) -> Condition:
    """The condition of a PUT or the end of a multipart upload."""
    if_none_match = header(b"if-none-match")
    if if_none_match is not None and if_none_match.strip() != "*":
        raise S3Error("NotImplemented", "If-None-Match of a write takes * only.")
    return Condition(if_match=of_delete(header).if_match, if_none_match=if_none_match is not None)


def of_delete(header: HeaderOf) -> Condition:
    """The condition of a DELETE."""
    if_match = header(b"if-match")
    return Condition(if_match=None if if_match is None else _bare(if_match))


def range_of(header: HeaderOf, file: FileInfo) -> tuple[int, int] | None:
    """(start, length) of the one range asked for; None for the whole file.

    What is not a single range of bytes is ignored, as RFC 9110 allows; one that holds no byte of
    the file is S3Error InvalidRange.
    """
    text = header(b"range")
    if text is None:
        return None
    if_range = header(b"if-range")
    if if_range is not None and not _still(if_range, file):
        return None
    found = _RANGE.fullmatch(text.strip())
    if found is None or not (found[1] or found[2]):
        return None
    size = file.size
    if found[1]:
        start = int(found[1])
        end = min(int(found[2]), size - 1) if found[2] else size - 1
        if found[2] and int(found[2]) < start:
            return None
    else:
        start, end = max(size - int(found[2]), 0), size - 1
        if int(found[2]) == 0:
            start = size
    if start >= size:
        extra = {"ActualObjectSize": str(size), "RangeRequested": text}
        headers = ((b"content-range", b"bytes */%d" % size),)
        raise S3Error("InvalidRange", extra=extra, headers=headers)
    return start, end - start + 1


def copy_range(text: str, size: int) -> tuple[int, int]:
    """(start, length) of `x-amz-copy-source-range`, which has to lie inside the source."""
    found = _COPY_RANGE.fullmatch(text.strip())
    if found is None or int(found[2]) < int(found[1]):
        raise S3Error(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first "
            "and last are the zero-based offsets of the first and last bytes to copy",
        )
    start, end = int(found[1]), int(found[2])
    if end >= size:
        raise S3Error(
            "InvalidRange", f"Range specified is not valid for source object of size: {size}"
        )
    return start, end - start + 1


def _matches(text: str, etag: str) -> bool:
    return any(item in ("*", etag) for item in map(_bare, text.split(",")))


def _bare(text: str) -> str:
    return text.strip().removeprefix("W/").strip('"')


def _still(if_range: str, file: FileInfo) -> bool:
    if (moment := _moment(if_range)) is not None:
        return int(file.modified_at) <= moment
    return _bare(if_range) == file.etag


def _moment(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _failed(name: str) -> S3Error:
    return S3Error("PreconditionFailed", extra={"Condition": name})
