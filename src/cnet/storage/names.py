"""Which buckets, keys, data keys and relative paths are taken.

Names are kept exactly as they are given, or refused; nothing is normalised, and none of them ever
becomes the name of a file. A key may hold whatever XML 1.0 can carry: with any other character no
listing that names it could be read by a client.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from cnet.errors import SpecError

KEY_BYTES: Final = 1024
DATA_KEY_CHARACTERS: Final = 255

_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]")
_RESERVED_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3")


def check_bucket(name: str) -> str:
    """The name, if S3 would take it for a bucket; else SpecError."""
    if not _BUCKET.fullmatch(name) or ".." in name:
        raise _bad_bucket(
            "3 to 63 of a-z, 0-9, `-` and `.`, no `..`, a letter or digit at both ends"
        )
    if name.startswith(_RESERVED_STARTS) or name.endswith(_RESERVED_ENDS):
        raise _bad_bucket("S3 reserves names that begin or end like this one")
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return name
    raise _bad_bucket("must not look like an IP address")


def check_key(key: str) -> bytes:
    """The key's UTF-8 bytes; SpecError for one that is not taken."""
    if not key:
        raise SpecError("key: must not be empty", field="key", code="invalid_key")
    bad = _NOT_IN_XML.search(key)
    if bad is not None:
        raise SpecError(
            f"key: U+{ord(bad.group()):04X} at position {bad.start()} is not taken; "
            "allowed is what XML 1.0 can carry",
            field="key",
            code="invalid_key",
        )
    encoded = key.encode()
    if len(encoded) > KEY_BYTES:
        raise SpecError(
            f"key: {len(encoded)} bytes of UTF-8; at most {KEY_BYTES} are taken",
            field="key",
            code="key_too_long",
        )
    return encoded


def check_data_key(data_key: str, *, field: str = "data_key") -> str:
    """The name of a data object, if it can be the first segment of a key; else SpecError."""
    if not 1 <= len(data_key) <= DATA_KEY_CHARACTERS:
        raise SpecError(f"{field}: must have 1 to {DATA_KEY_CHARACTERS} characters", field=field)
    if data_key in {".", ".."}:
        raise SpecError(f"{field}: `.` and `..` are not taken", field=field)
    _check_characters(data_key, "/", field)
    return data_key


def check_relative_path(path: str, *, data_key: str = "", field: str = "path") -> str:
    """The path of a file inside a data object, if it names a place below it; else SpecError."""
    if not path:
        raise SpecError(f"{field}: must not be empty", field=field)
    if path.startswith("/"):
        raise SpecError(f"{field}: must be relative, without a `/` in front", field=field)
    _check_characters(path, "\\", field)
    if any(segment in {"", ".", ".."} for segment in path.split("/")):
        raise SpecError(f"{field}: must have no empty, `.` or `..` segment", field=field)
    length = len(f"{data_key}/{path}".encode())
    if length > KEY_BYTES:
        raise SpecError(
            f"{field}: {length} bytes together with the data key; at most {KEY_BYTES} are taken",
            field=field,
        )
    return path


def _check_characters(text: str, refused: str, field: str) -> None:
    bad = _CONTROLS.search(text) or _NOT_IN_XML.search(text)
    if bad is not None:
        raise SpecError(
            f"{field}: control character U+{ord(bad.group()):04X} at position {bad.start()}",
            field=field,
        )
    if refused in text:
        raise SpecError(f"{field}: must not hold `{refused}`", field=field)


def _bad_bucket(rule: str) -> SpecError:
    return SpecError(f"bucket: {rule}", field="bucket", code="invalid_bucket_name")
