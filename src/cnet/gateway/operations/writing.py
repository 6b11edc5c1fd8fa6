"""PutObject, CopyObject, DeleteObject and DeleteObjects."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from cnet.errors import CnetError, DigestError, NotFoundError
from cnet.gateway import conditions, xml
from cnet.gateway.errors import S3Error, from_store
from cnet.gateway.operations.bucket import refuse_acl
from cnet.gateway.operations.reading import check_version
from cnet.gateway.payload import checksum_algorithm
from cnet.gateway.replies import (
    KEPT,
    Reply,
    checksum_elements,
    checksum_headers,
    xml_reply,
)
from cnet.gateway.service import Call, check_owner
from cnet.gateway.xml import Element, Node, iso_time
from cnet.storage.base import Attributes, Condition, Expected, FileInfo

_META = b"x-amz-meta-"
_MAX_METADATA = 2048
_DEFAULT_TYPE = "binary/octet-stream"
_NOT_HERE = (
    b"x-amz-server-side-encryption",
    b"x-amz-server-side-encryption-customer-algorithm",
    b"x-amz-tagging",
    b"x-amz-object-lock-mode",
    b"x-amz-object-lock-legal-hold",
    b"x-amz-object-lock-retain-until-date",
    b"x-amz-website-redirect-location",
    b"x-amz-write-offset-bytes",
)
_CONDITIONS_OF_DIRECTORIES = (b"x-amz-if-match-last-modified-time", b"x-amz-if-match-size")
"""S3 knows them for directory buckets only; to ignore one would delete what should stay."""
_DELETE_BODY = 4 << 20
_MAX_DELETES = 1000


async def put_object(call: Call) -> Reply:
    """PutObject."""
    attributes = attributes_of(call)
    call.payload.require_length()
    condition = conditions.of_write(call.request.header)
    await must_exist_for(call, condition)
    try:
        file = await call.store.put(
            call.bucket,
            call.key,
            call.payload.content(),
            attributes,
            expected=call.payload.expected,
            condition=condition,
        )
    except DigestError as error:
        raise call.payload.digest_problem(error) from None
    etag = (b"etag", f'"{file.etag}"'.encode())
    return Reply(200, [etag, *checksum_headers(file.checksums, file.checksum_type)])


async def copy_object(call: Call) -> Reply:
    """CopyObject."""
    await call.payload.expect_none()
    replaces = _directive(call) == "REPLACE"
    attributes = attributes_of(call)
    source = await copy_source(call)
    if not replaces and (source.bucket, source.key) == (call.bucket, call.key):
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without "
            "changing the object's metadata, storage class, website redirect location or "
            "encryption attributes.",
        )
    condition = conditions.of_write(call.request.header)
    await must_exist_for(call, condition)
    wanted = call.request.header(b"x-amz-checksum-algorithm")
    algorithm = checksum_algorithm(wanted, "x-amz-checksum-algorithm") if wanted else None
    chosen = attributes if replaces else None
    if algorithm is None or algorithm in source.checksums:
        file = await call.store.copy(source, call.bucket, call.key, chosen, condition=condition)
    else:  # a checksum the source has not: the bytes have to be read for it
        kept = Attributes(
            content_type=source.content_type, metadata=source.metadata, headers=source.headers
        )
        async with call.store.open(source) as body:
            file = await call.store.put(
                call.bucket,
                call.key,
                body,
                chosen or kept,
                expected=Expected(size=source.size, checksums={algorithm: ""}),
                condition=condition,
            )
    content: list[Element] = [
        ("LastModified", iso_time(file.modified_at)),
        ("ETag", f'"{file.etag}"'),
        *checksum_elements(file.checksums, file.checksum_type),
    ]
    return xml_reply("CopyObjectResult", content)


async def delete_object(call: Call) -> Reply:
    """DeleteObject; there being none is no error, unless a condition asks for one."""
    check_version(call.parameter("versionId"))
    await call.payload.expect_none()
    call.refuse(_CONDITIONS_OF_DIRECTORIES)
    condition = conditions.of_delete(call.request.header)
    await must_exist_for(call, condition)
    await call.store.delete(call.bucket, call.key, condition=condition)
    return Reply(204)


async def delete_objects(call: Call) -> Reply:
    """DeleteObjects: up to 1,000 keys, each with an outcome of its own."""
    if call.payload.expected.md5 is None and not call.payload.checksums:
        raise S3Error(
            "InvalidRequest",
            "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
        )
    body = await call.payload.read(_DELETE_BODY)
    if not body:
        raise S3Error("MissingRequestBodyError")
    root = xml.parse(body, "Delete")
    entries = root.all("Object")
    if not 1 <= len(entries) <= _MAX_DELETES:
        raise S3Error("MalformedXML", f"There must be 1 to {_MAX_DELETES} objects to delete.")
    quiet = _word(root, "Quiet") == "true"
    plain: list[str] = []
    outcomes: list[Element] = []
    for entry in entries:
        key = entry.one("Key")
        if key is None or not key.exact_text:
            raise S3Error("MalformedXML", "An <Object> has no <Key>.")
        if entry.all("LastModifiedTime") or entry.all("Size"):
            raise S3Error("NotImplemented", "An object is deleted on the condition of its ETag.")
        version, etag = _word(entry, "VersionId"), _word(entry, "ETag")
        if version in (None, "null") and etag is None:
            plain.append(key.exact_text)
        else:
            outcomes += await _delete_one(call, key.exact_text, version, etag, quiet=quiet)
    outcomes += await _delete_plain(call, plain, quiet=quiet)
    return xml_reply("DeleteResult", outcomes)


async def _delete_plain(call: Call, keys: list[str], *, quiet: bool) -> list[Element]:
    try:
        await call.store.delete_many(call.bucket, keys)
    except NotFoundError:
        raise
    except CnetError:
        # One of them is at fault; each alone tells which.
        outcomes: list[Element] = []
        for key in keys:
            outcomes += await _delete_one(call, key, None, None, quiet=quiet)
        return outcomes
    return [] if quiet else [("Deleted", [("Key", key)]) for key in keys]


async def _delete_one(
    call: Call, key: str, version: str | None, etag: str | None, *, quiet: bool
) -> list[Element]:
    try:
        check_version(version)
        condition = Condition(if_match=None if etag is None else etag.strip('"'))
        await call.store.delete(call.bucket, key, condition=condition)
    except (S3Error, CnetError) as error:
        told = error if isinstance(error, S3Error) else from_store(error)
        if told.code == "NoSuchBucket" or told.status >= 500:
            raise told from None
        return [("Error", [("Key", key), ("Code", told.code), ("Message", told.message)])]
    if quiet:
        return []
    entry: list[Element] = [("Key", key)]
    return [("Deleted", [*entry, ("VersionId", version)] if version else entry)]


async def copy_source(call: Call) -> FileInfo:
    """The file `x-amz-copy-source` names, if its conditions hold."""
    call.refuse((b"x-amz-copy-source-server-side-encryption-customer-algorithm",))
    check_owner(call.request, b"x-amz-source-expected-bucket-owner")
    text = call.request.header(b"x-amz-copy-source") or ""
    path, _, query = text.partition("?")
    try:
        decoded = unquote_to_bytes(path.removeprefix("/")).decode()
    except UnicodeDecodeError:
        decoded = ""
    bucket, _, key = decoded.partition("/")
    if not bucket or not key:
        raise S3Error(
            "InvalidArgument", "Copy Source must mention the source bucket and key: bucket/key"
        )
    if query:
        name, _, version = query.partition("=")
        if name != "versionId":
            raise S3Error(
                "InvalidArgument", "x-amz-copy-source takes the parameter versionId only."
            )
        check_version(version)
    call.gateway.check_bucket(call.caller, bucket)
    try:
        file = await call.store.stat(bucket, key)
    except NotFoundError as error:
        code = "NoSuchBucket" if error.code == "no_such_bucket" else "NoSuchKey"
        raise S3Error(
            code, extra={"BucketName": bucket} if code == "NoSuchBucket" else {"Key": key}
        ) from None
    if not conditions.check_read(call.request.header, file, prefix=b"x-amz-copy-source-"):
        raise S3Error("PreconditionFailed", extra={"Condition": "x-amz-copy-source-If-None-Match"})
    return file


def attributes_of(call: Call) -> Attributes:
    """What the headers say about a file to be stored."""
    call.refuse(_NOT_HERE)
    refuse_acl(call)
    storage_class = call.request.header(b"x-amz-storage-class")
    if storage_class not in (None, "STANDARD"):
        raise S3Error("InvalidStorageClass")
    metadata: dict[str, str] = {}
    size = 0
    for name in call.request.headers:
        if name.startswith(_META) and len(name) > len(_META):
            value = call.request.header(name) or ""
            size += len(name) - len(_META) + len(value.encode())
            metadata[name[len(_META) :].decode("latin-1")] = value
    if size > _MAX_METADATA:
        raise S3Error(
            "MetadataTooLarge", extra={"Size": str(size), "MaxSizeAllowed": str(_MAX_METADATA)}
        )
    headers = {}
    for name_text in KEPT:
        value_text = call.request.header(name_text.encode())
        if name_text == "content-encoding" and value_text is not None:
            value_text = _without_chunks(value_text)
        if value_text is not None:
            headers[name_text] = value_text
    content_type = call.request.header(b"content-type") or _DEFAULT_TYPE
    return Attributes(content_type=content_type, metadata=metadata, headers=headers)


async def must_exist_for(call: Call, condition: Condition) -> None:
    """If-Match for a key that has no file: S3 says NoSuchKey rather than PreconditionFailed."""
    if condition.if_match is not None:
        try:
            await call.store.stat(call.bucket, call.key)
        except NotFoundError as error:
            if error.code == "no_such_bucket":
                raise
            raise S3Error("NoSuchKey", extra={"Key": call.key}) from None


def _directive(call: Call) -> str:
    word = call.request.header(b"x-amz-metadata-directive") or "COPY"
    if word not in ("COPY", "REPLACE"):
        raise S3Error("InvalidArgument", "x-amz-metadata-directive must be COPY or REPLACE.")
    return word


def _without_chunks(encoding: str) -> str | None:
    kept = [item.strip() for item in encoding.split(",") if item.strip().lower() != "aws-chunked"]
    return ",".join(kept) or None


def _word(node: Node, name: str) -> str | None:
    found = node.one(name)
    return None if found is None else found.text
