"""Multipart uploads."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any

import pytest

from tests.gateway.gateways import Answer, Gateway

FIVE = 5 << 20


def start(gateway: Gateway, bucket: str, key: str = "file", **headers: str) -> str:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = gateway.ask("POST", f"/{bucket}/{key}?uploads", fields)
    assert answer.status == 200, answer
    return answer.texts("UploadId")[0]


def part(
    gateway: Gateway, bucket: str, upload: str, number: int, body: bytes, key: str = "file"
) -> str:
    target = f"/{bucket}/{key}?partNumber={number}&uploadId={upload}"
    answer = gateway.ask("PUT", target, {}, body)
    assert answer.status == 200, answer
    return answer.headers["etag"]


def complete(
    gateway: Gateway,
    bucket: str,
    upload: str,
    parts: list[tuple[int, str]],
    headers: dict[str, str] | None = None,
) -> Answer:
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number, etag in parts
    )
    body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
    return gateway.ask("POST", f"/{bucket}/file?uploadId={upload}", headers or {}, body)


def test_upload_in_parts(gateway: Gateway, bucket: str) -> None:
    upload = start(gateway, bucket, content_type="text/x", x_amz_meta_a="1")
    bodies = {1: b"a" * FIVE, 3: b"b" * FIVE, 10_000: b"c"}
    etags = [
        (number, part(gateway, bucket, upload, number, body)) for number, body in bodies.items()
    ]
    assert gateway.ask("GET", f"/{bucket}/file").status == 404
    assert gateway.ask("GET", f"/{bucket}?list-type=2").texts("Contents/Key") == []
    answer = complete(gateway, bucket, upload, etags)
    assert answer.status == 200
    assert answer.xml.tag == "CompleteMultipartUploadResult"
    md5s = b"".join(hashlib.md5(body).digest() for body in bodies.values())
    etag = f'"{hashlib.md5(md5s).hexdigest()}-3"'
    assert answer.texts("ETag") == [etag]
    assert answer.texts("Location")[0].endswith(f"/{bucket}/file?uploadId={upload}".split("?")[0])
    found = gateway.ask("GET", f"/{bucket}/file")
    assert found.body == b"".join(bodies.values())
    assert found.headers["etag"] == etag
    assert (found.headers["content-type"], found.headers["x-amz-meta-a"]) == ("text/x", "1")
    assert gateway.ask("GET", f"/{bucket}?uploads").texts("Upload/Key") == []


def test_completing_twice_answers_the_same(gateway: Gateway, bucket: str) -> None:
    upload = start(gateway, bucket)
    etags = [(1, part(gateway, bucket, upload, 1, b"a"))]
    first = complete(gateway, bucket, upload, etags)
    second = complete(gateway, bucket, upload, etags)
    assert (first.status, second.status) == (200, 200)
    assert first.texts("ETag") == second.texts("ETag")


def test_part_is_replaced_by_a_later_one(gateway: Gateway, bucket: str) -> None:
    upload = start(gateway, bucket)
    part(gateway, bucket, upload, 1, b"first")
    etag = part(gateway, bucket, upload, 1, b"second")
    assert complete(gateway, bucket, upload, [(1, etag)]).status == 200
    assert gateway.ask("GET", f"/{bucket}/file").body == b"second"


def test_parts_that_are_left_out_are_not_part_of_it(gateway: Gateway, bucket: str) -> None:
    upload = start(gateway, bucket)
    etags = [(number, part(gateway, bucket, upload, number, b"x" * number)) for number in (1, 2, 3)]
    assert complete(gateway, bucket, upload, etags[1:2]).status == 200
    assert gateway.ask("GET", f"/{bucket}/file").body == b"xx"


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([(1, '"nonsense"')], "InvalidPart"),
        ([(2, "ETAG1")], "InvalidPart"),
        ([(1, "ETAG2"), (2, "ETAG1")], "InvalidPart"),
        ([(2, "ETAG2"), (1, "ETAG1")], "InvalidPartOrder"),
        ([(1, "ETAG1"), (1, "ETAG1")], "InvalidPartOrder"),
        ([(1, "ETAG1"), (2, "ETAG2")], "EntityTooSmall"),
        ([(0, "ETAG1")], "InvalidPart"),
        ([(10_001, "ETAG1")], "InvalidPart"),
        ([], "MalformedXML"),
    ],
)
def test_lists_that_do_not_fit(
    gateway: Gateway, bucket: str, parts: list[tuple[int, str]], code: str
) -> None:
    upload = start(gateway, bucket)
    known = {f"ETAG{n}": part(gateway, bucket, upload, n, b"x" * n) for n in (1, 2)}
    listed = [(number, known.get(etag, etag)) for number, etag in parts]
    answer = complete(gateway, bucket, upload, listed)
    assert (answer.status, answer.code) == (400, code)
    assert gateway.ask("GET", f"/{bucket}/file").status == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"<Other/>",
        b"<CompleteMultipartUpload><Part><ETag>a</ETag></Part></CompleteMultipartUpload>",
        b"<CompleteMultipartUpload><Part><PartNumber>x</PartNumber></Part></CompleteMultipartUpload>",
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
    ],
)
def test_lists_that_are_none(gateway: Gateway, bucket: str, body: bytes) -> None:
    upload = start(gateway, bucket)
    answer = gateway.ask("POST", f"/{bucket}/file?uploadId={upload}", {}, body)
    assert (answer.status, answer.code) == (400, "MalformedXML")


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("PUT", "partNumber=1&uploadId="),
        ("GET", "uploadId="),
        ("DELETE", "uploadId="),
        ("POST", "uploadId="),
    ],
)
@pytest.mark.parametrize("upload", ["", "nonsense", "0" * 32, "%F0%9F%98%80", "../.."])
def test_uploads_there_are_none_of(
    gateway: Gateway, bucket: str, method: str, query: str, upload: str
) -> None:
    body = b""
    if method == "POST":
        body = (
            b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>"
            b"</CompleteMultipartUpload>"
        )
    answer = gateway.ask(
        method, f"/{bucket}/file?{query}{upload}", {"content-length": str(len(body))}, body
    )
    assert (answer.status, answer.code) == (404, "NoSuchUpload")


def test_upload_belongs_to_its_key(gateway: Gateway, bucket: str) -> None:
    upload = start(gateway, bucket)
    answer = gateway.ask("PUT", f"/{bucket}/other?partNumber=1&uploadId={upload}", {}, b"x")
    assert (answer.status, answer.code) == (404, "NoSuchUpload")


@pytest.mark.parametrize("number", ["0", "10001", "-1", "x", "", "1.5"])
def test_part_numbers(gateway: Gateway, bucket: str, number: str) -> None:
    upload = start(gateway, bucket)
    answer = gateway.ask("PUT", f"/{bucket}/file?partNumber={number}&uploadId={upload}", {}, b"x")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_aborting(gateway: Gateway, bucket: str) -> None:
    upload = start(gateway, bucket)
    etag = part(gateway, bucket, upload, 1, b"x")
    assert gateway.ask("DELETE", f"/{bucket}").code == "BucketNotEmpty"
    assert gateway.ask("DELETE", f"/{bucket}/file?uploadId={upload}").status == 204
    assert complete(gateway, bucket, upload, [(1, etag)]).code == "NoSuchUpload"
    assert gateway.ask("DELETE", f"/{bucket}").status == 204


def test_listing_parts(gateway: Gateway, bucket: str) -> None:
    upload = start(gateway, bucket)
    etags = [part(gateway, bucket, upload, number, b"x" * number) for number in range(1, 6)]
    answer = gateway.ask("GET", f"/{bucket}/file?uploadId={upload}")
    assert answer.xml.tag == "ListPartsResult"
    assert answer.texts("Part/PartNumber") == ["1", "2", "3", "4", "5"]
    assert answer.texts("Part/Size") == ["1", "2", "3", "4", "5"]
    assert answer.texts("Part/ETag") == etags
    assert answer.texts("IsTruncated") == ["false"]
    page = gateway.ask("GET", f"/{bucket}/file?uploadId={upload}&max-parts=2&part-number-marker=1")
    assert page.texts("Part/PartNumber") == ["2", "3"]
    assert page.texts("IsTruncated") == ["true"]
    assert page.texts("NextPartNumberMarker") == ["3"]


def _list_uploads(gateway: Gateway, bucket: str, query: str = "") -> Answer:
    answer = gateway.ask("GET", f"/{bucket}?uploads{query}")
    assert answer.status == 200
    assert answer.xml.tag == "ListMultipartUploadsResult"
    return answer


def test_listing_uploads(gateway: Gateway, bucket: str) -> None:
    keys = ["a", "b/1", "b/2", "c"]
    ids = {key: start(gateway, bucket, key) for key in keys}
    second = start(gateway, bucket, "a")
    answer = _list_uploads(gateway, bucket)
    assert answer.texts("Upload/Key") == ["a", "a", "b/1", "b/2", "c"]
    assert set(answer.texts("Upload/UploadId")) == {*ids.values(), second}
    assert _list_uploads(gateway, bucket, "&prefix=b").texts("Upload/Key") == ["b/1", "b/2"]
    grouped = _list_uploads(gateway, bucket, "&delimiter=%2F")
    assert grouped.texts("Upload/Key") == ["a", "a", "c"]
    assert grouped.texts("CommonPrefixes/Prefix") == ["b/"]
    assert _list_uploads(gateway, bucket, "&key-marker=a").texts("Upload/Key") == [
        "b/1",
        "b/2",
        "c",
    ]
    found: list[str] = []
    following = ""
    while True:
        page = _list_uploads(gateway, bucket, f"&max-uploads=1&delimiter=%2F{following}")
        found += page.texts("Upload/Key") + page.texts("CommonPrefixes/Prefix")
        if page.texts("IsTruncated") == ["false"]:
            break
        marker, upload = page.texts("NextKeyMarker")[0], page.texts("NextUploadIdMarker")[0]
        following = f"&key-marker={marker.replace('/', '%2F')}&upload-id-marker={upload}"
    assert found == ["a", "a", "b/", "c"]


@pytest.fixture
def source(gateway: Gateway, bucket: str) -> str:
    """A file to copy parts of."""
    gateway.put(f"/{bucket}/source", bytes(range(256)) * 100)
    return f"/{bucket}/source"


@pytest.mark.parametrize(
    ("wanted", "start_at", "stop"), [(None, 0, 25_600), ("bytes=10-19", 10, 20)]
)
def test_copying_a_part(
    gateway: Gateway, bucket: str, source: str, wanted: str | None, start_at: int, stop: int
) -> None:
    upload = start(gateway, bucket)
    headers = {"x-amz-copy-source": source}
    if wanted:
        headers["x-amz-copy-source-range"] = wanted
    answer = gateway.ask("PUT", f"/{bucket}/file?partNumber=1&uploadId={upload}", headers)
    assert answer.xml.tag == "CopyPartResult"
    done = complete(gateway, bucket, upload, [(1, answer.texts("ETag")[0])])
    assert done.status == 200
    whole = bytes(range(256)) * 100
    assert gateway.ask("GET", f"/{bucket}/file").body == whole[start_at:stop]


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ("bytes=0-", 400, "InvalidArgument"),
        ("bytes=-5", 400, "InvalidArgument"),
        ("bytes=5-4", 400, "InvalidArgument"),
        ("0-5", 400, "InvalidArgument"),
        ("bytes=0-25600", 416, "InvalidRange"),
    ],
)
def test_ranges_of_a_copied_part(
    gateway: Gateway, bucket: str, source: str, wanted: str, status: int, code: str
) -> None:
    upload = start(gateway, bucket)
    headers = {"x-amz-copy-source": source, "x-amz-copy-source-range": wanted}
    answer = gateway.ask("PUT", f"/{bucket}/file?partNumber=1&uploadId={upload}", headers)
    assert (answer.status, answer.code) == (status, code)


def test_conditions_of_completion(gateway: Gateway, bucket: str) -> None:
    gateway.put(f"/{bucket}/file", b"there")
    upload = start(gateway, bucket)
    etags = [(1, part(gateway, bucket, upload, 1, b"x"))]
    refused = complete(gateway, bucket, upload, etags, {"if-none-match": "*"})
    assert (refused.status, refused.code) == (412, "PreconditionFailed")
    assert gateway.ask("GET", f"/{bucket}/file").body == b"there"
    assert complete(gateway, bucket, upload, etags, {"if-match": "*"}).status == 200


@pytest.mark.parametrize(("size", "status"), [("1", 200), ("2", 400), ("x", 400)])
def test_size_that_completion_expects(
    gateway: Gateway, bucket: str, size: str, status: int
) -> None:
    upload = start(gateway, bucket)
    etags = [(1, part(gateway, bucket, upload, 1, b"x"))]
    answer = complete(gateway, bucket, upload, etags, {"x-amz-mp-object-size": size})
    assert answer.status == status


def crc32(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_composite_checksums(s3: Any, bucket: str, algorithm: str) -> None:
    made = s3.create_multipart_upload(Bucket=bucket, Key="file", ChecksumAlgorithm=algorithm)
    parts = []
    for number, body in enumerate([b"a" * FIVE, b"b"], 1):
        done = s3.upload_part(
            Bucket=bucket,
            Key="file",
            UploadId=made["UploadId"],
            PartNumber=number,
            Body=body,
            ChecksumAlgorithm=algorithm,
        )
        name = f"Checksum{algorithm}"
        parts.append({"PartNumber": number, "ETag": done["ETag"], name: done[name]})
    done = s3.complete_multipart_upload(
        Bucket=bucket, Key="file", UploadId=made["UploadId"], MultipartUpload={"Parts": parts}
    )
    assert done[name].endswith("-2")
    assert done["ChecksumType"] == "COMPOSITE"
    head = s3.head_object(Bucket=bucket, Key="file", ChecksumMode="ENABLED")
    assert (head[name], head["ChecksumType"]) == (done[name], "COMPOSITE")
    assert s3.get_object(Bucket=bucket, Key="file")["Body"].read() == b"a" * FIVE + b"b"


@pytest.mark.parametrize("right", [True, False])
def test_checksum_of_the_whole(gateway: Gateway, bucket: str, right: bool) -> None:
    upload = start(
        gateway, bucket, x_amz_checksum_algorithm="CRC32", x_amz_checksum_type="FULL_OBJECT"
    )
    bodies = [b"a" * FIVE, b"bcd"]
    etags = [(n, part(gateway, bucket, upload, n, body)) for n, body in enumerate(bodies, 1)]
    given = crc32(b"".join(bodies) if right else b"other")
    answer = complete(gateway, bucket, upload, etags, {"x-amz-checksum-crc32": given})
    if right:
        assert answer.texts("ChecksumCRC32") == [given]
        assert answer.texts("ChecksumType") == ["FULL_OBJECT"]
    else:
        assert (answer.status, answer.code) == (400, "BadDigest")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-algorithm": "MD5"},
        {"x-amz-checksum-type": "COMPOSITE"},
        {"x-amz-checksum-algorithm": "SHA1", "x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE"},
    ],
)
def test_checksums_that_do_not_go(gateway: Gateway, bucket: str, headers: dict[str, str]) -> None:
    answer = gateway.ask("POST", f"/{bucket}/file?uploads", headers)
    assert (answer.status, answer.code) == (400, "InvalidRequest")


def test_part_with_another_checksum_than_was_said(gateway: Gateway, bucket: str) -> None:
    upload = start(gateway, bucket, x_amz_checksum_algorithm="SHA256")
    target = f"/{bucket}/file?partNumber=1&uploadId={upload}"
    answer = gateway.ask("PUT", target, {"x-amz-checksum-crc32": crc32(b"x")}, b"x")
    assert (answer.status, answer.code) == (400, "InvalidRequest")


def test_list_with_a_wrong_checksum(gateway: Gateway, bucket: str) -> None:
    upload = start(gateway, bucket, x_amz_checksum_algorithm="CRC32")
    etag = part(gateway, bucket, upload, 1, b"x")
    body = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag>"
        f"<ChecksumCRC32>{crc32(b'y')}</ChecksumCRC32></Part></CompleteMultipartUpload>"
    ).encode()
    answer = gateway.ask("POST", f"/{bucket}/file?uploadId={upload}", {}, body)
    assert (answer.status, answer.code) == (400, "InvalidPart")


def test_upload_into_a_bucket_that_is_not_there(gateway: Gateway) -> None:
    answer = gateway.ask("POST", "/no-such-bucket/file?uploads")
    assert (answer.status, answer.code) == (404, "NoSuchBucket")
