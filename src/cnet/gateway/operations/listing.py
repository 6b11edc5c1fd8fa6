"""ListObjects in both versions, and ListObjectVersions."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

from cnet.gateway.errors import S3Error
from cnet.gateway.replies import Reply, xml_reply
from cnet.gateway.service import OWNER, Call
from cnet.gateway.xml import Element, Markup, escape, iso_time
from cnet.storage.base import Entry, Page

MAX_KEYS = 1000

_QUOTED = re.compile(r"[^A-Za-z0-9/\-_.~]+")
_OWNER = "<Owner>" + "".join([f"<{name}>{value}</{name}>" for name, value in OWNER]) + "</Owner>"
_CLASS = "<StorageClass>STANDARD</StorageClass>"
_ONLY_VERSION = "<VersionId>null</VersionId><IsLatest>true</IsLatest>"


async def list_objects_v2(call: Call) -> Reply:
    """ListObjectsV2: pages by continuation token."""
    token, start_after = call.parameter("continuation-token"), call.parameter("start-after") or ""
    limit = call.number("max-keys", default=MAX_KEYS)
    after = start_after if token is None else _from_token(token)
    page = await _page(call, after, limit, past_group=token is not None)
    spell = encoder(call)
    end = _OWNER + _CLASS if call.parameter("fetch-owner") == "true" else _CLASS
    content: list[Element | Markup] = [
        *_head(call, spell, limit),
        ("KeyCount", len(page.files) + len(page.prefixes)),
        ("IsTruncated", _truncated(page)),
    ]
    if token is not None:
        content.append(("ContinuationToken", token))
    if page.next_after is not None:
        content.append(("NextContinuationToken", _to_token(page.next_after)))
    if start_after:
        content.append(("StartAfter", spell(start_after)))
    content.append(_entries("Contents", page.files, spell, end))
    content += _prefixes(page, spell)
    return xml_reply("ListBucketResult", content)


async def list_objects_v1(call: Call) -> Reply:
    """ListObjects: pages by the last key."""
    marker = call.parameter("marker") or ""
    limit = call.number("max-keys", default=MAX_KEYS)
    page = await _page(call, marker, limit)
    spell = encoder(call)
    content: list[Element | Markup] = [
        *_head(call, spell, limit),
        ("Marker", spell(marker)),
        ("IsTruncated", _truncated(page)),
    ]
    if page.next_after is not None and call.parameter("delimiter"):
        content.append(("NextMarker", spell(page.next_after)))
    content.append(_entries("Contents", page.files, spell, _OWNER + _CLASS))
    content += _prefixes(page, spell)
    return xml_reply("ListBucketResult", content)


async def list_versions(call: Call) -> Reply:
    """ListObjectVersions: each file is its only version, whose id is `null`."""
    marker, version = call.parameter("key-marker") or "", call.parameter("version-id-marker")
    if version and not marker:
        raise S3Error(
            "InvalidArgument", "A version-id marker cannot be specified without a key marker."
        )
    if version not in (None, "", "null"):
        raise S3Error("InvalidArgument", "Invalid version id specified")
    limit = call.number("max-keys", default=MAX_KEYS)
    page = await _page(call, marker, limit)
    spell = encoder(call)
    content: list[Element | Markup] = [
        *_head(call, spell, limit),
        ("KeyMarker", spell(marker)),
        ("VersionIdMarker", version or ""),
        ("IsTruncated", _truncated(page)),
    ]
    if page.next_after is not None:
        content += [("NextKeyMarker", spell(page.next_after)), ("NextVersionIdMarker", "null")]
    content.append(_entries("Version", page.files, spell, _OWNER + _CLASS + _ONLY_VERSION))
    content += _prefixes(page, spell)
    return xml_reply("ListVersionsResult", content)


def encoder(call: Call) -> Callable[[str], str]:
    """How keys are spelled in the reply: as they are, or percent-encoded."""
    kind = call.parameter("encoding-type")
    if not kind:
        return str
    if kind != "url":
        raise S3Error("InvalidArgument", "Invalid Encoding Method specified in Request")
    return _quoted


def _quoted(text: str) -> str:
    return _QUOTED.sub(lambda found: quote(found.group(), safe=""), text)


async def _page(call: Call, after: str, limit: int, *, past_group: bool = True) -> Page[Entry]:
    if limit == 0:
        await call.store.list(call.bucket, limit=1)  # for the error of a bucket that is not there
        return Page((), (), None)
    return await call.store.entries(
        call.bucket,
        prefix=call.parameter("prefix") or "",
        delimiter=call.parameter("delimiter") or "",
        after=after,
        limit=min(limit, MAX_KEYS),
        past_group=past_group,
    )


def _head(call: Call, spell: Callable[[str], str], limit: int) -> list[Element]:
    content: list[Element] = [
        ("Name", call.bucket),
        ("Prefix", spell(call.parameter("prefix") or "")),
        ("MaxKeys", min(limit, MAX_KEYS)),
    ]
    if delimiter := call.parameter("delimiter"):
        content.append(("Delimiter", spell(delimiter)))
    if call.parameter("encoding-type"):
        content.append(("EncodingType", "url"))
    return content


def _entries(name: str, entries: Sequence[Entry], spell: Callable[[str], str], end: str) -> Markup:
    """An element for each of them; a text at once, for there may be a thousand of them."""
    return Markup(
        "".join(
            [
                f"<{name}><Key>{escape(spell(key))}</Key>"
                f"<LastModified>{iso_time(modified_at)}</LastModified>"
                f"<ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size>"
                f"{_checksums(checksums, kind) if checksums else ''}{end}</{name}>"
                for key, size, etag, modified_at, checksums, kind in entries
            ]
        )
    )


def _checksums(checksums: Mapping[str, str], kind: str | None) -> str:
    found = [f"<ChecksumAlgorithm>{name.upper()}</ChecksumAlgorithm>" for name in checksums]
    return f"{''.join(found)}<ChecksumType>{kind or 'FULL_OBJECT'}</ChecksumType>"


def _prefixes(page: Page[Entry], spell: Callable[[str], str]) -> list[Element]:
    return [("CommonPrefixes", [("Prefix", spell(prefix))]) for prefix in page.prefixes]


def _truncated(page: Page[Entry]) -> str:
    return "true" if page.next_after is not None else "false"


def _to_token(after: str) -> str:
    return base64.urlsafe_b64encode(b"1" + after.encode()).decode()


def _from_token(token: str) -> str:
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        if raw[:1] == b"1":
            return raw[1:].decode()
    except (binascii.Error, ValueError):
        pass
    raise S3Error(
        "InvalidArgument",
        "The continuation token provided is incorrect",
        extra={"ArgumentName": "continuation-token"},
    )
