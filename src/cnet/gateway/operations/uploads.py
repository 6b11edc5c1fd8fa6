"""ListParts and ListMultipartUploads."""

from __future__ import annotations

from cnet.gateway.operations.listing import encoder
from cnet.gateway.replies import Reply, checksum_elements, xml_reply
from cnet.gateway.service import OWNER, Call
from cnet.gateway.xml import Element, iso_time
from cnet.storage.base import Upload

_PAGE = 1000
_LAST = "~"  # sorts behind every id


async def list_parts(call: Call) -> Reply:
    """ListParts."""
    limit = min(call.number("max-parts", default=_PAGE), _PAGE)
    marker = call.number("part-number-marker", default=0)
    upload = await call.store.upload(call.bucket, call.key, upload_id_of(call))
    found = await call.store.parts(
        call.bucket, call.key, upload.upload_id, after=marker, limit=limit + 1
    )
    shown = found[:limit]
    spell = encoder(call)
    content: list[Element] = [
        ("Bucket", call.bucket),
        ("Key", spell(call.key)),
        ("UploadId", upload.upload_id),
        ("PartNumberMarker", marker),
        ("NextPartNumberMarker", shown[-1][0].number if shown else 0),
        ("MaxParts", limit),
        ("IsTruncated", "true" if shown and len(found) > limit else "false"),
        *_checksum_of(upload),
        ("Initiator", OWNER),
        ("Owner", OWNER),
        ("StorageClass", "STANDARD"),
    ]
    for part, checksums in shown:
        entry: list[Element] = [
            ("PartNumber", part.number),
            ("LastModified", iso_time(part.modified_at)),
            ("ETag", f'"{part.md5}"'),
            ("Size", part.size),
            *checksum_elements(checksums, None),
        ]
        content.append(("Part", entry))
    return xml_reply("ListPartsResult", content)


async def list_uploads(call: Call) -> Reply:
    """ListMultipartUploads."""
    limit = min(call.number("max-uploads", default=_PAGE), _PAGE)
    key_marker = call.parameter("key-marker") or ""
    id_marker = (call.parameter("upload-id-marker") or "") if key_marker else ""
    shown, prefixes, following = await _uploads(call, key_marker, id_marker, limit)
    spell = encoder(call)
    content: list[Element] = [
        ("Bucket", call.bucket),
        ("KeyMarker", spell(key_marker)),
        ("UploadIdMarker", id_marker),
        ("Prefix", spell(call.parameter("prefix") or "")),
        ("MaxUploads", limit),
        ("IsTruncated", "true" if following else "false"),
    ]
    if delimiter := call.parameter("delimiter"):
        content.append(("Delimiter", spell(delimiter)))
    if call.parameter("encoding-type"):
        content.append(("EncodingType", "url"))
    if following:
        content.append(("NextKeyMarker", spell(following[0])))
        content.append(("NextUploadIdMarker", following[1]))
    for upload in shown:
        entry: list[Element] = [
            ("Key", spell(upload.key)),
            ("UploadId", upload.upload_id),
            ("Initiator", OWNER),
            ("Owner", OWNER),
            ("StorageClass", "STANDARD"),
            ("Initiated", iso_time(upload.initiated_at)),
            *_checksum_of(upload),
        ]
        content.append(("Upload", entry))
    content += [("CommonPrefixes", [("Prefix", spell(prefix))]) for prefix in prefixes]
    return xml_reply("ListMultipartUploadsResult", content)


async def _uploads(
    call: Call, key_marker: str, id_marker: str, limit: int
) -> tuple[list[Upload], list[str], tuple[str, str] | None]:
    """Up to `limit` uploads and common prefixes, and the marker of the next page."""
    prefix, delimiter = call.parameter("prefix") or "", call.parameter("delimiter") or ""
    # A key marker alone means: behind all uploads of that key.
    after = (key_marker, id_marker or (_LAST if key_marker else ""))
    shown: list[Upload] = []
    prefixes: list[str] = []
    last: tuple[str, str] | None = None
    while True:
        page = await call.store.uploads(call.bucket, prefix=prefix, after=after, limit=_PAGE)
        for upload in page:
            after = (upload.key, upload.upload_id)
            stop = upload.key.find(delimiter, len(prefix)) if delimiter else -1
            group = upload.key[: stop + len(delimiter)] if stop >= 0 else None
            if group is not None and (group in prefixes or key_marker.startswith(group)):
                last = after if group in prefixes else last
                continue
            if len(shown) + len(prefixes) == limit:
                return shown, prefixes, last
            if group is None:
                shown.append(upload)
            else:
                prefixes.append(group)
            last = after
        if len(page) < _PAGE:
            return shown, prefixes, None


def upload_id_of(call: Call) -> str:
    """The upload a request speaks of."""
    return call.parameter("uploadId") or ""


def _checksum_of(upload: Upload) -> list[Element]:
    if upload.checksum is None:
        return []
    content: list[Element] = [("ChecksumAlgorithm", upload.checksum.upper())]
    if upload.checksum_type is not None:
        content.append(("ChecksumType", upload.checksum_type))
    return content
