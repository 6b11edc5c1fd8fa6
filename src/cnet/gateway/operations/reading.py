"""GetObject, HeadObject, GetObjectAttributes, and what else is asked about one object."""

from __future__ import annotations

from cnet.errors import NotFoundError
from cnet.gateway import conditions
from cnet.gateway.errors import S3Error
from cnet.gateway.operations.bucket import acl_reply
from cnet.gateway.replies import (
    FilePart,
    Header,
    Reply,
    checksum_elements,
    checksum_headers,
    file_headers,
    http_date,
    xml_reply,
)
from cnet.gateway.service import Call
from cnet.gateway.xml import Element
from cnet.storage.base import FileInfo

_OVERRIDES = {
    "response-content-type": b"content-type",
    "response-content-language": b"content-language",
    "response-expires": b"expires",
    "response-cache-control": b"cache-control",
    "response-content-disposition": b"content-disposition",
    "response-content-encoding": b"content-encoding",
}
_ATTRIBUTES = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")
_NOT_HERE = (b"x-amz-server-side-encryption-customer-algorithm",)


async def get_object(call: Call) -> Reply:
    """GetObject, and HeadObject: the sender leaves the body away for HEAD."""
    call.refuse(_NOT_HERE)
    file = await stat(call)
    header = call.request.header
    if not conditions.check_read(header, file):
        return Reply(304, _validators(file))
    headers = file_headers(file)
    number = call.parameter("partNumber")
    if number is not None:
        start, length = _part_range(call, file)
        headers.append((b"x-amz-mp-parts-count", str(len(file.parts) or 1).encode()))
        partial = True
    else:
        wanted = conditions.range_of(header, file) if b"range" in call.request.headers else None
        start, length = wanted or (0, file.size)
        partial = wanted is not None
    whole = length == file.size
    if file.checksums and whole and header(b"x-amz-checksum-mode") == "ENABLED":
        headers += checksum_headers(file.checksums, file.checksum_type)
    if b"response-" in call.request.raw_query:
        headers = _overridden(call, headers)
    if partial:
        value = b"bytes %d-%d/%d" % (start, start + length - 1, file.size)
        headers.append((b"content-range", value))
    return Reply(206 if partial else 200, headers, FilePart(file, start, length))


async def get_attributes(call: Call) -> Reply:
    """GetObjectAttributes."""
    text = call.request.header(b"x-amz-object-attributes") or ""
    wanted = {item.strip() for item in text.split(",")} - {""}
    if not wanted or not wanted <= set(_ATTRIBUTES):
        raise S3Error(
            "InvalidArgument", f"x-amz-object-attributes must be of {', '.join(_ATTRIBUTES)}."
        )
    file = await stat(call)
    if not conditions.check_read(call.request.header, file):
        return Reply(304, _validators(file))
    content: list[Element] = []
    if "ETag" in wanted:
        content.append(("ETag", file.etag))
    if "Checksum" in wanted and file.checksums:
        content.append(("Checksum", checksum_elements(file.checksums, file.checksum_type)))
    if "ObjectParts" in wanted and file.parts:
        content.append(("ObjectParts", _object_parts(call, file)))
    if "StorageClass" in wanted:
        content.append(("StorageClass", "STANDARD"))
    if "ObjectSize" in wanted:
        content.append(("ObjectSize", file.size))
    modified = (b"last-modified", http_date(int(file.modified_at)))
    return xml_reply("GetObjectAttributesResponse", content, headers=[modified])


async def get_object_acl(call: Call) -> Reply:
    """GetObjectAcl."""
    await stat(call)
    return acl_reply()


async def get_object_tagging(call: Call) -> Reply:
    """GetObjectTagging: no object has tags."""
    await stat(call)
    return xml_reply("Tagging", [("TagSet", [])])


async def get_no_lock(call: Call) -> Reply:
    """GetObjectRetention and GetObjectLegalHold: there is no object lock."""
    await stat(call)
    raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")


async def stat(call: Call) -> FileInfo:
    """The object of the path; S3Error for the versions there are none of."""
    check_version(call.parameter("versionId"))
    try:
        return await call.store.stat(call.bucket, call.key)
    except NotFoundError as error:
        if error.code == "no_such_bucket":
            raise S3Error("NoSuchBucket", extra={"BucketName": call.bucket}) from None
        raise S3Error("NoSuchKey", extra={"Key": call.key}) from None


def check_version(version: str | None) -> None:
    """The only version of an object is called `null`."""
    if version == "":
        raise S3Error("InvalidArgument", "Version id cannot be the empty string")
    if version not in (None, "null"):
        raise S3Error("NoSuchVersion", extra={"VersionId": version or ""})


def _part_range(call: Call, file: FileInfo) -> tuple[int, int]:
    if b"range" in call.request.headers:
        raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber.")
    number = call.number("partNumber", default=0, low=1, high=10_000)
    parts = file.parts
    if not parts and number == 1 and file.size:
        return 0, file.size
    if number > len(parts):
        raise S3Error("InvalidPartNumber", extra={"ActualPartCount": str(len(parts) or 1)})
    start = sum(part.size for part in parts[: number - 1])
    return start, parts[number - 1].size


def _object_parts(call: Call, file: FileInfo) -> list[Element]:
    limit = _header_number(call, b"x-amz-max-parts", 1000)
    marker = _header_number(call, b"x-amz-part-number-marker", 0)
    rest = list(enumerate(file.parts, 1))[marker:]
    shown = rest[:limit]
    content: list[Element] = [
        ("IsTruncated", "true" if len(rest) > len(shown) else "false"),
        ("MaxParts", limit),
        ("PartNumberMarker", marker),
        ("NextPartNumberMarker", shown[-1][0] if shown else 0),
        ("PartsCount", len(file.parts)),
    ]
    content += [("Part", [("PartNumber", number), ("Size", part.size)]) for number, part in shown]
    return content


def _header_number(call: Call, name: bytes, default: int) -> int:
    text = call.request.headers.get(name)
    if text is None:
        return default
    if not text.isdigit() or len(text) > 9:
        raise S3Error("InvalidArgument", f"{name.decode()} must be a whole number.")
    return min(int(text), 10_000)


def _overridden(call: Call, headers: list[Header]) -> list[Header]:
    given = {}
    for name, header in _OVERRIDES.items():
        value = call.parameter(name)
        if value is None:
            continue
        if not value.isprintable():
            raise S3Error("InvalidArgument", f"{name} must not hold control characters.")
        given[header] = value.encode("utf-8", "replace")
    if given and call.caller.anonymous:
        raise S3Error(
            "InvalidRequest",
            "Request specific response headers cannot be used for anonymous GET requests.",
        )
    return [item for item in headers if item[0] not in given] + list(given.items())


def _validators(file: FileInfo) -> list[Header]:
    kept = (b"etag", b"last-modified", b"cache-control", b"expires")
    return [header for header in file_headers(file) if header[0] in kept]
