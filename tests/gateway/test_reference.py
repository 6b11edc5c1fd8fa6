"""Cases of the S3 API reference by operation: request, then status and error code.

What takes more than one request stands in the other modules.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from tests.gateway.gateways import Answer, Gateway, md5

PAST, FUTURE = "Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
SSE_C = {"x-amz-server-side-encryption-customer-algorithm": "AES256"}
EMPTY = {"content-length": "0"}
AT = "/shelf/part?uploadId=UPLOAD"
Case = tuple[str, Mapping[str, str], bytes, int, str | None]


@pytest.fixture(scope="module")
def shelf(gateway: Gateway) -> str:
    """A bucket with `file` and `dir/` in it, and an unfinished upload of `part`."""
    assert gateway.ask("PUT", "/shelf").status == 200
    gateway.put("/shelf/file", b"content", content_type="text/plain")
    gateway.put("/shelf/dir/", b"")
    upload = gateway.ask("POST", "/shelf/part?uploads").xml.findtext("UploadId")
    gateway.put(f"/shelf/part?partNumber=1&uploadId={upload}", b"first")
    return str(upload)


def require(gateway: Gateway, method: str, upload: str, case: Case) -> Answer:
    """Ask, and compare; every error is an S3 error document, but for HEAD."""
    target, headers, body, status, code = case
    answer = gateway.ask(method, target.replace("UPLOAD", upload), headers, body)
    assert answer.status == status, answer
    if method == "HEAD":
        assert answer.body == b""
    elif code is not None:
        assert answer.headers["content-type"] == "application/xml"
        assert answer.xml.tag == "Error"
        assert (answer.code, answer.xml.findtext("RequestId")) == (
            code,
            answer.headers["x-amz-request-id"],
        )
        assert answer.xml.findtext("Message")
    else:
        assert answer.status < 400
    return answer


def cases(*rows: tuple[Any, ...]) -> Any:
    """(target, status, code[, headers[, body]]) each."""
    table: list[Case] = []
    for target, status, code, *more in rows:
        headers = more[0] if more else {}
        body = more[1] if len(more) > 1 else b""
        table.append((target, headers, body, status, code))
    return pytest.mark.parametrize("case", table, ids=lambda case: f"{case[0][:60]}-{case[3]}")


@cases(
    ("/?max-buckets=1", 200, None),
    ("/?max-buckets=0", 400, "InvalidArgument"),
    ("/?max-buckets=10001", 400, "InvalidArgument"),
    ("/?max-buckets=x", 400, "InvalidArgument"),
    ("/?x-id=ListBuckets", 200, None),
)
def test_list_buckets(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "GET", shelf, case)


@cases(
    ("/shelf", 409, "BucketAlreadyOwnedByYou"),
    ("/new-one", 400, "InvalidArgument", {"x-amz-acl": "public-ready"}),
    ("/new-one", 400, "AccessControlListNotSupported", {"x-amz-acl": "public-read"}),
    ("/new-one", 501, "NotImplemented", {"x-amz-bucket-object-lock-enabled": "true"}),
    ("/new-one", 400, "MalformedXML", {}, b"<Other/>"),
    ("/new-one", 400, "BadDigest", {"content-md5": md5(b"x")}, b"<CreateBucketConfiguration/>"),
    ("/Upper", 400, "InvalidBucketName"),
    ("/shelf?versioning", 501, "NotImplemented", {}, b"<VersioningConfiguration/>"),
    ("/shelf?acl", 400, "MissingRequestBodyError"),
)
def test_create_bucket(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "PUT", shelf, case)
    assert gateway.ask("HEAD", "/new-one").status == 404


@cases(
    ("/shelf", 200, None),
    ("/no-such-bucket", 404, "NoSuchBucket"),
    ("/shelf", 403, "AccessDenied", {"x-amz-expected-bucket-owner": "111122223333"}),
    ("/shelf", 200, None, {"x-amz-expected-bucket-owner": "cnet"}),
)
def test_head_bucket(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "HEAD", shelf, case)


@cases(
    ("/shelf", 409, "BucketNotEmpty"),
    ("/no-such-bucket", 404, "NoSuchBucket"),
    ("/shelf", 403, "AccessDenied", {"x-amz-expected-bucket-owner": "111122223333"}),
)
def test_delete_bucket(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "DELETE", shelf, case)
    assert gateway.ask("HEAD", "/shelf").status == 200


@cases(
    ("/shelf?location", 200, None),
    ("/no-such-bucket?location", 404, "NoSuchBucket"),
    ("/shelf?location", 403, "AccessDenied", {"x-amz-expected-bucket-owner": "other"}),
)
def test_get_bucket_location(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "GET", shelf, case)


@cases(
    ("/shelf?marker=%0A", 200, None),
    ("/shelf?marker=zzz", 200, None),
    ("/shelf?max-keys=2147483647", 200, None),
    ("/shelf?max-keys=2147483648", 400, "InvalidArgument"),
    ("/shelf?max-keys=1.5", 400, "InvalidArgument"),
    ("/shelf?encoding-type=URL", 400, "InvalidArgument"),
    ("/shelf?unknown=1", 200, None),
    ("/shelf", 403, "AccessDenied", {"x-amz-expected-bucket-owner": "other"}),
)
def test_list_objects(gateway: Gateway, shelf: str, case: Case) -> None:
    answer = require(gateway, "GET", shelf, case)
    if answer.status == 200:
        assert answer.xml.tag == "ListBucketResult"


@cases(
    ("/shelf?list-type=2&max-keys=2147483648", 400, "InvalidArgument"),
    ("/shelf?list-type=2&fetch-owner=false", 200, None),
    ("/shelf?list-type=2&start-after=zzz", 200, None),
    ("/shelf?list-type=2&delimiter=&prefix=", 200, None),
    ("/shelf?list-type=1", 400, "InvalidArgument"),
    ("/no-such-bucket?list-type=2", 404, "NoSuchBucket"),
)
def test_list_objects_v2(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "GET", shelf, case)


def test_a_token_counts_more_than_start_after(gateway: Gateway, shelf: str) -> None:
    first = gateway.ask("GET", "/shelf?list-type=2&max-keys=1&start-after=a")
    assert first.texts("Contents/Key") == ["dir/"]
    assert first.texts("StartAfter") == ["a"]
    (token,) = first.texts("NextContinuationToken")
    more = gateway.ask("GET", f"/shelf?list-type=2&start-after=zzz&continuation-token={token}")
    assert more.texts("Contents/Key") == ["file"]
    assert more.texts("ContinuationToken") == [token]
    assert more.texts("KeyCount") == ["1"]


@cases(
    ("/shelf?versions", 200, None),
    ("/shelf?versions&prefix=dir", 200, None),
    ("/shelf?versions&max-keys=-1", 400, "InvalidArgument"),
    ("/shelf?versions&encoding-type=x", 400, "InvalidArgument"),
    ("/shelf?versions&version-id-marker=x", 400, "InvalidArgument"),
    ("/no-such-bucket?versions", 404, "NoSuchBucket"),
)
def test_list_object_versions(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "GET", shelf, case)


def test_versions_of_a_prefix_and_by_group(gateway: Gateway, shelf: str) -> None:
    answer = gateway.ask("GET", "/shelf?versions&prefix=fi")
    assert answer.texts("Version/Key") == ["file"]
    assert answer.texts("Version/VersionId") == ["null"]
    assert answer.texts("Version/Size") == ["7"]
    assert answer.texts("Version/ETag") == [f'"{hashlib.md5(b"content").hexdigest()}"']
    assert answer.texts("DeleteMarker") == []
    grouped = gateway.ask("GET", "/shelf?versions&delimiter=%2F")
    assert grouped.texts("CommonPrefixes/Prefix") == ["dir/"]
    assert grouped.texts("Version/Key") == ["file"]


@cases(
    ("/shelf/part?uploadId=UPLOAD", 200, None),
    ("/shelf/part?uploadId=UPLOAD&max-parts=0", 200, None),
    ("/shelf/part?uploadId=UPLOAD&max-parts=x", 400, "InvalidArgument"),
    ("/shelf/part?uploadId=UPLOAD&max-parts=-1", 400, "InvalidArgument"),
    ("/shelf/part?uploadId=UPLOAD&part-number-marker=x", 400, "InvalidArgument"),
    ("/shelf/part?uploadId=UPLOAD&part-number-marker=9", 200, None),
    ("/shelf/part?uploadId=UPLOAD&encoding-type=x", 400, "InvalidArgument"),
    ("/shelf/other?uploadId=UPLOAD", 404, "NoSuchUpload"),
    ("/shelf/part?uploadId=", 404, "NoSuchUpload"),
    ("/cnet/part?uploadId=UPLOAD", 404, "NoSuchUpload"),
)
def test_list_parts(gateway: Gateway, shelf: str, case: Case) -> None:
    answer = require(gateway, "GET", shelf, case)
    if answer.status == 200:
        assert answer.xml.tag == "ListPartsResult"


@cases(
    ("/shelf?uploads", 200, None),
    ("/shelf?uploads&max-uploads=x", 400, "InvalidArgument"),
    ("/shelf?uploads&max-uploads=-1", 400, "InvalidArgument"),
    ("/shelf?uploads&encoding-type=x", 400, "InvalidArgument"),
    ("/shelf?uploads&prefix=no", 200, None),
    ("/no-such-bucket?uploads", 404, "NoSuchBucket"),
)
def test_list_multipart_uploads(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "GET", shelf, case)


@cases(
    ("/shelf/file", 200, None),
    ("/shelf/dir/", 200, None),
    ("/shelf/dir", 404, "NoSuchKey"),
    ("/shelf/file/", 404, "NoSuchKey"),
    ("/shelf/file?versionId=", 400, "InvalidArgument"),
    ("/shelf/file?versionId=null", 200, None),
    ("/shelf/file?versionId=3HL4kqtJlcpXroDTDmJ", 404, "NoSuchVersion"),
    ("/shelf/file", 501, "NotImplemented", SSE_C),
    ("/shelf/file", 403, "AccessDenied", {"x-amz-expected-bucket-owner": "111122223333"}),
    ("/shelf/file", 412, "PreconditionFailed", {"if-match": '"0"'}),
    ("/shelf/file", 412, "PreconditionFailed", {"if-unmodified-since": PAST}),
    ("/shelf/file", 200, None, {"if-unmodified-since": FUTURE}),
    ("/shelf/file", 304, None, {"if-modified-since": FUTURE}),
    ("/shelf/file", 304, None, {"if-none-match": "*"}),
    ("/shelf/file", 416, "InvalidRange", {"range": "bytes=7-"}),
    ("/shelf/file", 416, "InvalidRange", {"range": "bytes=-0"}),
    ("/shelf/file", 206, None, {"range": "bytes=6-100"}),
    ("/shelf/file", 206, None, {"range": "bytes=-100"}),
    ("/shelf/file", 200, None, {"range": "bytes=0-1,3-4"}),
    ("/shelf/dir/", 416, "InvalidRange", {"range": "bytes=0-0"}),
    ("/shelf/file?partNumber=1", 206, None),
    ("/shelf/file?partNumber=2", 416, "InvalidPartNumber"),
    ("/shelf/file?x-id=GetObject", 200, None),
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_get_and_head_object(gateway: Gateway, shelf: str, method: str, case: Case) -> None:
    answer = require(gateway, method, shelf, case)
    if answer.status in {200, 206}:
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.headers["etag"].startswith('"')
        assert answer.headers["last-modified"].endswith("GMT")


@cases(
    ("/shelf/file?attributes", 200, None, {"x-amz-object-attributes": "ETag"}),
    ("/shelf/file?attributes", 200, None, {"x-amz-object-attributes": "ETag, ObjectSize"}),
    ("/shelf/file?attributes", 400, "InvalidArgument"),
    ("/shelf/file?attributes", 400, "InvalidArgument", {"x-amz-object-attributes": "etag"}),
    ("/shelf/none?attributes", 404, "NoSuchKey", {"x-amz-object-attributes": "ETag"}),
    (
        "/shelf/file?attributes&versionId=x",
        404,
        "NoSuchVersion",
        {"x-amz-object-attributes": "ETag"},
    ),
)
def test_get_object_attributes(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "GET", shelf, case)


@cases(
    ("/shelf/new", 400, "InvalidArgument", {"x-amz-acl": "everybody"}, b"x"),
    ("/shelf/new", 400, "AccessControlListNotSupported", {"x-amz-acl": "public-read"}, b"x"),
    ("/shelf/new", 501, "NotImplemented", SSE_C, b"x"),
    ("/shelf/new", 501, "NotImplemented", {"x-amz-server-side-encryption": "aws:kms"}, b"x"),
    ("/shelf/new", 501, "NotImplemented", {"x-amz-write-offset-bytes": "1"}, b"x"),
    ("/shelf/new", 403, "AccessDenied", {"x-amz-expected-bucket-owner": "other"}, b"x"),
    ("/shelf/new", 400, "InvalidDigest", {"content-md5": "YWJyYWNhZGFicmE="}, b"x"),
    ("/shelf/new", 400, "InvalidDigest", {"content-md5": md5(b"x")[:-1]}, b"x"),
    ("/shelf/new", 400, "BadDigest", {"content-md5": md5(b"y")}, b"x"),
    ("/shelf/new", 400, "InvalidRequest", {"x-amz-checksum-crc32": "AAAA"}, b"x"),
    ("/shelf/new", 400, "InvalidRequest", {"x-amz-checksum-crc32": "?"}, b"x"),
    ("/shelf/new", 400, "InvalidRequest", {"x-amz-checksum-md4": "AAAA"}, b"x"),
    ("/shelf/new", 400, "BadDigest", {"x-amz-checksum-crc32": "AAAAAA=="}, b"x"),
    ("/shelf/new", 400, "BadDigest", {"x-amz-checksum-sha256": "A" * 43 + "="}, b"x"),
    ("/shelf/new", 400, "InvalidRequest", {"x-amz-sdk-checksum-algorithm": "MD4"}, b"x"),
    ("/no-such-bucket/new", 404, "NoSuchBucket", {}, b"x"),
    ("/shelf/" + "k" * 1025, 400, "KeyTooLongError", {}, b"x"),
    ("/shelf/new?tagging", 501, "NotImplemented", {}, b"<Tagging/>"),
    ("/shelf/new?legal-hold", 501, "NotImplemented", {}, b"<LegalHold/>"),
    ("/shelf/file", 412, "PreconditionFailed", {"if-none-match": "*"}, b"x"),
    ("/shelf/file", 412, "PreconditionFailed", {"if-match": '"0"'}, b"x"),
    ("/shelf/new", 404, "NoSuchKey", {"if-match": "*"}, b"x"),
    ("/shelf/new", 501, "NotImplemented", {"if-none-match": '"0"'}, b"x"),
)
def test_put_object(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "PUT", shelf, case)
    assert gateway.ask("GET", "/shelf/new").status == 404
    assert gateway.ask("GET", "/shelf/file").body == b"content"


def copying(source: str = "/shelf/file", **more: str) -> dict[str, str]:
    fields = {name.replace("_", "-"): value for name, value in more.items()}
    return {"x-amz-copy-source": source, **fields}


@cases(
    ("/shelf/copy", 200, None, copying()),
    ("/shelf/copy", 200, None, copying("shelf%2Ffile")),
    ("/shelf/copy", 200, None, copying("shelf/file?versionId=null")),
    ("/shelf/copy", 400, "InvalidArgument", copying(x_amz_metadata_directive="MERGE")),
    ("/shelf/copy", 400, "InvalidArgument", copying("shelf/file?versionId=")),
    ("/shelf/copy", 404, "NoSuchVersion", copying("shelf/file?versionId=x")),
    ("/shelf/copy", 400, "AccessControlListNotSupported", copying(x_amz_acl="public-read")),
    ("/shelf/copy", 400, "InvalidStorageClass", copying(x_amz_storage_class="GLACIER")),
    ("/shelf/copy", 400, "InvalidRequest", copying(x_amz_checksum_algorithm="MD4")),
    (
        "/shelf/copy",
        501,
        "NotImplemented",
        copying(x_amz_copy_source_server_side_encryption_customer_algorithm="AES256"),
    ),
    ("/shelf/copy", 403, "AccessDenied", copying(x_amz_source_expected_bucket_owner="other")),
    ("/shelf/copy", 403, "AccessDenied", copying(x_amz_expected_bucket_owner="other")),
    ("/shelf/copy", 412, "PreconditionFailed", copying(x_amz_copy_source_if_match='"0"')),
    ("/shelf/copy", 412, "PreconditionFailed", copying(x_amz_copy_source_if_modified_since=FUTURE)),
    ("/shelf/file", 400, "InvalidRequest", copying()),
    ("/no-such-bucket/copy", 404, "NoSuchBucket", copying()),
    ("/shelf/copy", 404, "NoSuchBucket", copying("/no-such-bucket/file")),
    ("/shelf/copy", 404, "NoSuchKey", copying("/shelf/none")),
    ("/cnet/copy", 200, None, copying()),
)
def test_copy_object(gateway: Gateway, shelf: str, case: Case) -> None:
    answer = require(gateway, "PUT", shelf, case)
    copy = gateway.ask("GET", case[0])
    if answer.status == 200:
        assert answer.xml.tag == "CopyObjectResult"
        assert (copy.body, copy.headers["content-type"]) == (b"content", "text/plain")
        assert gateway.ask("DELETE", case[0]).status == 204
    elif case[0].endswith("copy"):
        assert copy.status == 404


@cases(
    ("/shelf/none", 204, None),
    ("/shelf/file", 412, "PreconditionFailed", {"if-match": '"0"'}),
    ("/shelf/file", 501, "NotImplemented", {"x-amz-if-match-size": "1"}),
    ("/shelf/file", 501, "NotImplemented", {"x-amz-if-match-last-modified-time": PAST}),
    ("/shelf/file?versionId=", 400, "InvalidArgument"),
    ("/shelf/file?versionId=x", 404, "NoSuchVersion"),
    ("/shelf/file", 403, "AccessDenied", {"x-amz-expected-bucket-owner": "other"}),
    ("/no-such-bucket/file", 404, "NoSuchBucket"),
)
def test_delete_object(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "DELETE", shelf, case)
    assert gateway.ask("GET", "/shelf/file").status == 200


def deletion(inner: str) -> tuple[dict[str, str], bytes]:
    body = f"<Delete>{inner}</Delete>".encode()
    return {"content-md5": md5(body)}, body


GONE = "<Object><Key>none</Key></Object>"


@cases(
    ("/shelf?delete", 200, None, *deletion(GONE)),
    ("/shelf?delete", 200, None, *deletion(GONE * 1000)),
    ("/shelf?delete", 400, "MalformedXML", *deletion(GONE * 1001)),
    ("/shelf?delete", 400, "MalformedXML", *deletion("")),
    ("/shelf?delete", 400, "MalformedXML", *deletion("<Object/>")),
    ("/shelf?delete", 400, "MalformedXML", *deletion("<Object><Key/></Object>")),
    ("/shelf?delete", 400, "InvalidRequest", {}, deletion(GONE)[1]),
    ("/shelf?delete", 400, "BadDigest", {"content-md5": md5(b"x")}, deletion(GONE)[1]),
    ("/shelf?delete", 400, "InvalidDigest", {"content-md5": "x"}, deletion(GONE)[1]),
    ("/shelf?delete", 400, "MissingRequestBodyError", {"content-md5": md5(b""), **EMPTY}),
    (
        "/shelf?delete",
        501,
        "NotImplemented",
        *deletion("<Object><Key>file</Key><Size>1</Size></Object>"),
    ),
    ("/no-such-bucket?delete", 404, "NoSuchBucket", *deletion(GONE)),
)
def test_delete_objects(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "POST", shelf, case)
    assert gateway.ask("GET", "/shelf/file").status == 200


def test_deletion_by_checksum_and_by_etag(gateway: Gateway, shelf: str) -> None:
    gateway.put("/shelf/going", b"x")
    inner = "<Object><Key>going</Key><ETag>{}</ETag></Object><Object><Key>none</Key></Object>"
    body = f"<Delete>{inner.format('0')}</Delete>".encode()
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    kept = gateway.ask("POST", "/shelf?delete", {"x-amz-checksum-sha256": digest}, body)
    assert kept.texts("Error/Code") == ["PreconditionFailed"]
    assert kept.texts("Deleted/Key") == ["none"]
    right = inner.format(hashlib.md5(b"x").hexdigest())
    gone = gateway.ask("POST", "/shelf?delete", *deletion(right))
    assert sorted(gone.texts("Deleted/Key")) == ["going", "none"]
    assert gateway.ask("GET", "/shelf/going").code == "NoSuchKey"


@cases(
    ("/shelf/new?uploads", 400, "InvalidArgument", {"x-amz-acl": "everybody"}),
    ("/shelf/new?uploads", 400, "InvalidStorageClass", {"x-amz-storage-class": "GLACIER"}),
    ("/shelf/new?uploads", 501, "NotImplemented", SSE_C),
    ("/shelf/new?uploads", 501, "NotImplemented", {"x-amz-tagging": "a=b"}),
    ("/shelf/new?uploads", 403, "AccessDenied", {"x-amz-expected-bucket-owner": "other"}),
    ("/shelf/" + "k" * 1025 + "?uploads", 400, "KeyTooLongError"),
    ("/no-such-bucket/new?uploads", 404, "NoSuchBucket"),
    ("/shelf/new?restore", 501, "NotImplemented"),
    ("/shelf/new?select&select-type=2", 501, "NotImplemented"),
    ("/shelf/new", 405, "MethodNotAllowed"),
)
def test_create_multipart_upload(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "POST", shelf, case)
    assert gateway.ask("GET", "/shelf?uploads").texts("Upload/Key") == ["part"]


@cases(
    (f"{AT}&partNumber=0", 400, "InvalidArgument", {}, b"x"),
    (f"{AT}&partNumber=10001", 400, "InvalidArgument", {}, b"x"),
    (f"{AT}&partNumber=one", 400, "InvalidArgument", {}, b"x"),
    ("/shelf/part?uploadId=UPLOAD", 400, "InvalidArgument", {}, b"x"),
    ("/shelf/part?uploadId=none&partNumber=1", 404, "NoSuchUpload", {}, b"x"),
    ("/shelf/other?uploadId=UPLOAD&partNumber=1", 404, "NoSuchUpload", {}, b"x"),
    (
        f"{AT}&partNumber=1",
        400,
        "BadDigest",
        {"content-md5": md5(b"y")},
        b"x",
    ),
    (f"{AT}&partNumber=1", 400, "InvalidDigest", {"content-md5": "y"}, b"x"),
    (
        f"{AT}&partNumber=1",
        400,
        "BadDigest",
        {"x-amz-checksum-crc32": "AAAAAA=="},
        b"x",
    ),
    (f"{AT}&partNumber=1", 501, "NotImplemented", SSE_C, b"x"),
)
def test_upload_part(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "PUT", shelf, case)
    (etag,) = gateway.ask("GET", f"/shelf/part?uploadId={shelf}").texts("Part/ETag")
    assert etag == f'"{hashlib.md5(b"first").hexdigest()}"'


@cases(
    (f"{AT}&partNumber=2", 404, "NoSuchKey", copying("/shelf/none")),
    (f"{AT}&partNumber=2", 404, "NoSuchBucket", copying("/no-such/x")),
    (f"{AT}&partNumber=0", 400, "InvalidArgument", copying()),
    ("/shelf/part?uploadId=none&partNumber=2", 404, "NoSuchUpload", copying()),
    (
        f"{AT}&partNumber=2",
        400,
        "InvalidArgument",
        copying(x_amz_copy_source_range="bytes=hello-world"),
    ),
    (
        f"{AT}&partNumber=2",
        416,
        "InvalidRange",
        copying(x_amz_copy_source_range="bytes=0-21"),
    ),
    (
        f"{AT}&partNumber=2",
        412,
        "PreconditionFailed",
        copying(x_amz_copy_source_if_none_match="*"),
    ),
    (
        f"{AT}&partNumber=2",
        403,
        "AccessDenied",
        copying(x_amz_source_expected_bucket_owner="other"),
    ),
)
def test_upload_part_copy(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "PUT", shelf, case)
    assert gateway.ask("GET", f"/shelf/part?uploadId={shelf}").texts("Part/PartNumber") == ["1"]


def listing(*parts: tuple[object, str]) -> bytes:
    inner = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number, etag in parts
    )
    return f"<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>".encode()


FIRST = hashlib.md5(b"first").hexdigest()


@cases(
    (AT, 400, "MalformedXML", EMPTY),
    (AT, 400, "MalformedXML", {}, listing()),
    (AT, 400, "MalformedXML", {}, listing(("x", FIRST))),
    (AT, 400, "MalformedXML", {}, b"<CompleteMultipartUpload><Part/></CompleteMultipartUpload>"),
    (AT, 400, "MalformedXML", {}, listing((1, FIRST))[:-3]),
    (AT, 400, "InvalidPart", {}, listing((1, "0" * 32))),
    (AT, 400, "InvalidPart", {}, listing((2, FIRST))),
    (AT, 400, "InvalidPart", {}, listing((1, FIRST), (2, FIRST))),
    (AT, 400, "InvalidPartOrder", {}, listing((1, FIRST), (1, FIRST))),
    (AT, 400, "InvalidRequest", {"x-amz-mp-object-size": "6"}, listing((1, FIRST))),
    (AT, 404, "NoSuchKey", {"if-match": '"0"'}, listing((1, FIRST))),
    ("/shelf/other?uploadId=UPLOAD", 404, "NoSuchUpload", {}, listing((1, FIRST))),
    ("/shelf/part?uploadId=none", 404, "NoSuchUpload", {}, listing((1, FIRST))),
    ("/no-such-bucket/part?uploadId=UPLOAD", 404, "NoSuchBucket", {}, listing((1, FIRST))),
)
def test_complete_multipart_upload(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "POST", shelf, case)
    assert gateway.ask("GET", "/shelf/part").code == "NoSuchKey"


@cases(
    ("/shelf/part?uploadId=none", 404, "NoSuchUpload"),
    ("/shelf/other?uploadId=UPLOAD", 404, "NoSuchUpload"),
    ("/no-such-bucket/part?uploadId=UPLOAD", 404, "NoSuchBucket"),
    ("/shelf/part?uploadId=UPLOAD", 403, "AccessDenied", {"x-amz-expected-bucket-owner": "x"}),
)
def test_abort_multipart_upload(gateway: Gateway, shelf: str, case: Case) -> None:
    require(gateway, "DELETE", shelf, case)
    assert gateway.ask("GET", f"/shelf/part?uploadId={shelf}").status == 200


@pytest.mark.parametrize("value", ["", "   "])
def test_an_empty_authorization_is_none(gateway: Gateway, shelf: str, value: str) -> None:
    host = f"127.0.0.1:{gateway.port}"
    answer = gateway.send("GET", "/shelf/file", {"host": host, "authorization": value})
    assert (answer.status, answer.code) == (403, "AccessDenied")


@pytest.mark.parametrize(
    ("seconds", "status", "code"),
    [
        (1, 200, None),
        (604_800, 200, None),
        (604_801, 400, "AuthorizationQueryParametersError"),
        (-1, 400, "AuthorizationQueryParametersError"),
    ],
)
def test_lifetime_of_a_presigned_url(
    gateway: Gateway, shelf: str, seconds: int, status: int, code: str | None
) -> None:
    target, headers = gateway.sign("GET", "/shelf/file", presigned_s=seconds)
    answer = gateway.send("GET", target, headers)
    assert (answer.status, None if status == 200 else answer.code) == (status, code)
