"""Multipart uploads: beginning, parts, end."""

from __future__ import annotations

from cnet.errors import DigestError, NotFoundError
from cnet.gateway import conditions, xml
from cnet.gateway.errors import S3Error
from cnet.gateway.operations.uploads import upload_id_of
from cnet.gateway.operations.writing import attributes_of, copy_source, must_exist_for
from cnet.gateway.payload import checksum_algorithm
from cnet.gateway.replies import (
    Header,
    Reply,
    checksum_elements,
    checksum_headers,
    xml_reply,
)
from cnet.gateway.service import Call
from cnet.gateway.xml import Element, Node, iso_time
from cnet.storage import digests
from cnet.storage.base import Expected

MAX_PARTS = 10_000
_COMPLETE_BODY = 8 << 20


async def create_upload(call: Call) -> Reply:
    """CreateMultipartUpload."""
    await call.payload.expect_none()
    algorithm, kind = _asked_checksum(call)
    upload_id = await call.store.create_upload(
        call.bucket, call.key, attributes_of(call), checksum=algorithm, checksum_type=kind
    )
    headers: list[Header] = []
    if algorithm is not None:
        kind = kind or digests.check_type(algorithm, None)
        headers = [
            (b"x-amz-checksum-algorithm", algorithm.upper().encode()),
            (b"x-amz-checksum-type", kind.encode()),
        ]
    content: list[Element] = [("Bucket", call.bucket), ("Key", call.key), ("UploadId", upload_id)]
    return xml_reply("InitiateMultipartUploadResult", content, headers=headers)


async def put_part(call: Call) -> Reply:
    """UploadPart."""
    call.refuse((b"x-amz-server-side-encryption-customer-algorithm",))
    number = _part_number(call)
    call.payload.require_length()
    upload = await call.store.upload(call.bucket, call.key, upload_id_of(call))
    checksums = call.payload.checksums
    if upload.checksum is not None:
        given = next(iter(checksums), None)
        if given not in (None, upload.checksum):
            raise S3Error(
                "InvalidRequest",
                "Checksum Type mismatch occurred, expected checksum Type: "
                f"{upload.checksum}, actual checksum Type: {given}",
            )
        checksums.setdefault(upload.checksum, "")
    try:
        part, found = await call.store.put_part(
            call.bucket,
            call.key,
            upload.upload_id,
            number,
            call.payload.content(),
            expected=call.payload.expected,
        )
    except DigestError as error:
        raise call.payload.digest_problem(error) from None
    headers = [(b"etag", f'"{part.md5}"'.encode())]
    headers += [
        (f"x-amz-checksum-{name}".encode(), value.encode()) for name, value in found.items()
    ]
    return Reply(200, headers)


async def copy_part(call: Call) -> Reply:
    """UploadPartCopy."""
    number = _part_number(call)
    await call.payload.expect_none()
    upload = await call.store.upload(call.bucket, call.key, upload_id_of(call))
    source = await copy_source(call)
    start, length = 0, source.size
    wanted = call.request.header(b"x-amz-copy-source-range")
    if wanted is not None:
        start, length = conditions.copy_range(wanted, source.size)
    checksums = {} if upload.checksum is None else {upload.checksum: ""}
    async with call.store.open(source, start, length) as body:
        part, found = await call.store.put_part(
            call.bucket,
            call.key,
            upload.upload_id,
            number,
            body,
            expected=Expected(size=length, checksums=checksums),
        )
    content: list[Element] = [
        ("LastModified", iso_time(part.modified_at)),
        ("ETag", f'"{part.md5}"'),
        *checksum_elements(found, None),
    ]
    return xml_reply("CopyPartResult", content)


async def complete_upload(call: Call) -> Reply:
    """CompleteMultipartUpload; the checksums in its headers are those of the whole object."""
    upload_id = upload_id_of(call)
    body = await _complete_body(call)
    if not body.strip():
        raise S3Error("MalformedXML", "The list of parts is missing.")
    entries = xml.parse(body, "CompleteMultipartUpload").all("Part")
    if not 1 <= len(entries) <= MAX_PARTS:
        raise S3Error("MalformedXML", f"There must be 1 to {MAX_PARTS} parts.")
    parts = [_listed_part(entry) for entry in entries]
    await _check_part_checksums(call, upload_id, entries)
    condition = conditions.of_write(call.request.header)
    await must_exist_for(call, condition)
    size = call.request.headers.get(b"x-amz-mp-object-size")
    if size is not None and not (size.isdigit() and len(size) < 19):
        raise S3Error("InvalidRequest", "Value for x-amz-mp-object-size header is invalid.")
    expected = Expected(size=None if size is None else int(size), checksums=call.payload.checksums)
    try:
        file = await call.store.complete_upload(
            call.bucket, call.key, upload_id, parts, expected=expected, condition=condition
        )
    except DigestError as error:
        if error.field == "size":
            raise S3Error("InvalidRequest", "The size given is not that of the parts.") from None
        raise call.payload.digest_problem(error) from None
    host = call.request.header(b"host") or ""
    path = call.request.raw_path.decode("latin-1")
    content: list[Element] = [
        ("Location", f"http://{host}{path}"),
        ("Bucket", call.bucket),
        ("Key", call.key),
        ("ETag", f'"{file.etag}"'),
        *checksum_elements(file.checksums, file.checksum_type),
    ]
    headers = checksum_headers(file.checksums, file.checksum_type)
    return xml_reply("CompleteMultipartUploadResult", content, headers=headers)


async def abort_upload(call: Call) -> Reply:
    """AbortMultipartUpload."""
    await call.payload.expect_none()
    await call.store.abort_upload(call.bucket, call.key, upload_id_of(call))
    return Reply(204)


async def _complete_body(call: Call) -> bytes:
    # The checksum headers of this one speak of the object, not of the body.
    payload = call.payload
    whole = dict(payload.checksums)
    payload.checksums.clear()
    body = await payload.read(_COMPLETE_BODY)
    payload.checksums.update(whole)
    return body


def _listed_part(entry: Node) -> tuple[int, str]:
    number, etag = entry.one("PartNumber"), entry.one("ETag")
    text = "" if number is None else number.text
    if etag is None or not (text.isascii() and text.isdigit() and len(text) < 9):
        raise S3Error("MalformedXML", "A <Part> needs <PartNumber> and <ETag>.")
    return int(text), etag.text.strip('"')


async def _check_part_checksums(call: Call, upload_id: str, entries: list[Node]) -> None:
    """The checksums that the list itself gives must be those of the parts."""
    given = [
        (int(_listed_part(entry)[0]), name, found.text)
        for entry in entries
        for name in digests.SIZES
        if (found := entry.one(f"Checksum{name.upper()}")) is not None
    ]
    if not given:
        return
    known: dict[int, dict[str, str]] = {}
    try:
        after = 0
        while page := await call.store.parts(call.bucket, call.key, upload_id, after=after):
            known.update({part.number: dict(checksums) for part, checksums in page})
            after = page[-1][0].number
    except NotFoundError:
        return  # completed already: the store says whether with the same parts
    for number, name, value in given:
        if number in known and known[number].get(name, value) != value:
            raise S3Error("InvalidPart", f"Part {number} has another {name.upper()} checksum.")


def _asked_checksum(call: Call) -> tuple[str | None, str | None]:
    text = call.request.header(b"x-amz-checksum-algorithm")
    kind = call.request.header(b"x-amz-checksum-type")
    if text is None:
        if kind is not None:
            raise S3Error(
                "InvalidRequest",
                "The x-amz-checksum-type header can only be used with the "
                "x-amz-checksum-algorithm header.",
            )
        return None, None
    algorithm = checksum_algorithm(text, "x-amz-checksum-algorithm")
    if kind is not None and kind not in digests.TYPES[algorithm]:
        raise S3Error(
            "InvalidRequest",
            f"The {kind} checksum type cannot be used with the {algorithm} checksum algorithm.",
        )
    return algorithm, kind


def _part_number(call: Call) -> int:
    text = call.parameter("partNumber") or ""
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:8]) <= MAX_PARTS):
        raise S3Error(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive",
            extra={"ArgumentName": "partNumber", "ArgumentValue": text},
        )
    return int(text)
