"""GetObject and HeadObject: ranges, conditions, overrides, parts; GetObjectAttributes."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.gateway.gateways import Gateway

BODY = bytes(range(256)) * 4
SIZE = len(BODY)
PAST, FUTURE = "Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.fixture(scope="module")
def stored(gateway: Gateway) -> dict[str, str]:
    """`/cnet/file`, and its ETag and date."""
    gateway.put(
        "/cnet/file",
        BODY,
        content_type="text/x-test",
        cache_control="max-age=7",
        content_disposition='attachment; filename="a.txt"',
        content_encoding="gzip",
        content_language="fr",
        expires=FUTURE,
        x_amz_meta_Colour="blue",
    )
    headers = gateway.ask("HEAD", "/cnet/file").headers
    return {"etag": headers["etag"], "modified": headers["last-modified"]}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/cnet/file", "/s3/cnet/file"])
def test_headers_come_back(
    gateway: Gateway, stored: dict[str, str], method: str, path: str
) -> None:
    answer = gateway.ask(method, path)
    assert answer.status == 200
    assert answer.body == (BODY if method == "GET" else b"")
    told = {
        "content-length": str(SIZE),
        "content-type": "text/x-test",
        "cache-control": "max-age=7",
        "content-disposition": 'attachment; filename="a.txt"',
        "content-encoding": "gzip",
        "content-language": "fr",
        "expires": FUTURE,
        "x-amz-meta-colour": "blue",
        "accept-ranges": "bytes",
        "etag": stored["etag"],
    }
    assert told.items() <= answer.headers.items()
    assert {"date", "x-amz-request-id", "last-modified"} <= answer.headers.keys()


@pytest.mark.parametrize(
    ("text", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, SIZE),
        ("bytes=10-19", 10, 20),
        ("bytes=1000-", 1000, SIZE),
        ("bytes=1023-1023", 1023, SIZE),
        ("bytes=1000-99999", 1000, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        ("bytes=-1024", 0, SIZE),
        ("bytes=-99999", 0, SIZE),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ranges(
    gateway: Gateway, stored: dict[str, str], method: str, text: str, start: int, stop: int
) -> None:
    answer = gateway.ask(method, "/cnet/file", {"range": text})
    assert answer.status == 206
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(stop - start)
    assert answer.body == (BODY[start:stop] if method == "GET" else b"")


@pytest.mark.parametrize("text", ["bytes=1024-", "bytes=9999-10000", "bytes=-0"])
def test_ranges_that_hold_nothing(gateway: Gateway, stored: dict[str, str], text: str) -> None:
    answer = gateway.ask("GET", "/cnet/file", {"range": text})
    assert (answer.status, answer.code) == (416, "InvalidRange")
    assert answer.headers["content-range"] == f"bytes */{SIZE}"
    assert answer.texts("ActualObjectSize") == [str(SIZE)]
    assert gateway.ask("HEAD", "/cnet/file", {"range": text}).status == 416


@pytest.mark.parametrize(
    "text",
    ["bytes=2-1", "bytes=-", "bytes=a-b", "bytes=0-1,3-4", "items=0-1", "0-1", "bytes=+1-2", ""],
)
def test_ranges_that_are_none_are_ignored(
    gateway: Gateway, stored: dict[str, str], text: str
) -> None:
    answer = gateway.ask("GET", "/cnet/file", {"range": text})
    assert (answer.status, answer.body) == (200, BODY)


def test_empty_file(gateway: Gateway) -> None:
    gateway.put("/cnet/empty")
    answer = gateway.ask("GET", "/cnet/empty")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")
    assert gateway.ask("GET", "/cnet/empty", {"range": "bytes=0-"}).status == 416


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-match": "ETAG"}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": '"other"'}, 412),
        ({"if-match": '"other", ETAG'}, 200),
        ({"if-none-match": "ETAG"}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"other"'}, 200),
        ({"if-none-match": "W/ETAG"}, 304),
        ({"if-modified-since": "MODIFIED"}, 304),
        ({"if-modified-since": PAST}, 200),
        ({"if-modified-since": FUTURE}, 304),
        ({"if-modified-since": "nonsense"}, 200),
        ({"if-unmodified-since": "MODIFIED"}, 200),
        ({"if-unmodified-since": PAST}, 412),
        ({"if-unmodified-since": FUTURE}, 200),
        ({"if-match": "ETAG", "if-unmodified-since": PAST}, 200),
        ({"if-match": '"other"', "if-unmodified-since": FUTURE}, 412),
        ({"if-none-match": '"other"', "if-modified-since": FUTURE}, 200),
        ({"if-none-match": "ETAG", "if-modified-since": PAST}, 304),
        ({"if-match": '"other"', "if-none-match": "ETAG"}, 412),
        ({"range": "bytes=0-3", "if-range": "ETAG"}, 206),
        ({"range": "bytes=0-3", "if-range": '"other"'}, 200),
        ({"range": "bytes=0-3", "if-range": "MODIFIED"}, 206),
        ({"range": "bytes=0-3", "if-range": PAST}, 200),
        ({"range": "bytes=0-3", "if-match": "ETAG"}, 206),
        ({"range": "bytes=0-3", "if-match": '"other"'}, 412),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions(
    gateway: Gateway, stored: dict[str, str], method: str, headers: dict[str, str], status: int
) -> None:
    given = {
        name: value.replace("ETAG", stored["etag"]).replace("MODIFIED", stored["modified"])
        for name, value in headers.items()
    }
    answer = gateway.ask(method, "/cnet/file", given)
    assert answer.status == status
    if status == 304:
        assert answer.body == b""
        assert answer.headers["etag"] == stored["etag"]
    if status == 412 and method == "GET":
        assert answer.code == "PreconditionFailed"


OVERRIDES = {
    "response-content-type": "application/x-other",
    "response-content-language": "de",
    "response-expires": PAST,
    "response-cache-control": "no-cache",
    "response-content-disposition": "inline",
    "response-content-encoding": "identity",
}


@pytest.mark.parametrize("name", OVERRIDES)
@pytest.mark.parametrize("presigned_s", [None, 60])
def test_overrides(
    gateway: Gateway, stored: dict[str, str], name: str, presigned_s: int | None
) -> None:
    value = OVERRIDES[name].replace(" ", "%20").replace("/", "%2F")
    value = value.replace(":", "%3A").replace(",", "%2C")
    answer = gateway.ask("GET", f"/cnet/file?{name}={value}", presigned_s=presigned_s)
    assert answer.status == 200
    assert answer.headers[name.removeprefix("response-")] == OVERRIDES[name]


def test_override_cannot_break_a_header(gateway: Gateway, stored: dict[str, str]) -> None:
    answer = gateway.ask("GET", "/cnet/file?response-content-type=a%0D%0Ax-evil%3A1")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/cnet/none", "NoSuchKey"),
        ("/cnet/file/", "NoSuchKey"),
        ("/cnet/FILE", "NoSuchKey"),
        ("/cnet//file", "NoSuchKey"),
        ("/cnet/./file", "NoSuchKey"),
        ("/cnet/x/../file", "NoSuchKey"),
        ("/cnet/..%2F..%2Fetc%2Fpasswd", "NoSuchKey"),
        ("/no-such-bucket/file", "NoSuchBucket"),
        ("/cnet/file?versionId=other", "NoSuchVersion"),
    ],
)
def test_what_is_not_there(gateway: Gateway, stored: dict[str, str], path: str, code: str) -> None:
    answer = gateway.ask("GET", path)
    assert (answer.status, answer.code) == (404, code)
    assert answer.texts("RequestId") == [answer.headers["x-amz-request-id"]]
    assert answer.texts("Resource") == [path.partition("?")[0]]
    head = gateway.ask("HEAD", path)
    assert (head.status, head.body) == (404, b"")


def test_version_null_is_the_file(gateway: Gateway, stored: dict[str, str]) -> None:
    assert gateway.ask("GET", "/cnet/file?versionId=null").body == BODY


@pytest.mark.parametrize("size", [1, 4096, 65_536, 65_537, 1 << 20, (1 << 20) + 1, 9 << 20])
def test_sizes_on_either_side_of_every_limit(gateway: Gateway, size: int) -> None:
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    gateway.put(f"/cnet/size-{size}", body)
    assert gateway.ask("GET", f"/cnet/size-{size}").body == body
    middle = size // 3
    answer = gateway.ask("GET", f"/cnet/size-{size}", {"range": f"bytes={middle}-{size - 1}"})
    assert answer.body == body[middle:]


@pytest.fixture(scope="module")
def in_parts(s3: Any, gateway: Gateway) -> list[bytes]:
    """`/cnet/parts`, put as three."""
    bodies = [b"a" * (5 << 20), b"b" * (6 << 20), b"c" * 100]
    upload = s3.create_multipart_upload(Bucket="cnet", Key="parts")["UploadId"]
    parts = []
    for number, body in enumerate(bodies, 1):
        done = s3.upload_part(
            Bucket="cnet", Key="parts", UploadId=upload, PartNumber=number, Body=body
        )
        parts.append({"PartNumber": number, "ETag": done["ETag"]})
    s3.complete_multipart_upload(
        Bucket="cnet", Key="parts", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    return bodies


@pytest.mark.parametrize("number", [1, 2, 3])
def test_one_part(gateway: Gateway, in_parts: list[bytes], number: int) -> None:
    answer = gateway.ask("GET", f"/cnet/parts?partNumber={number}")
    start = sum(map(len, in_parts[: number - 1]))
    size = len(in_parts[number - 1])
    assert (answer.status, answer.body) == (206, in_parts[number - 1])
    total = sum(map(len, in_parts))
    assert answer.headers["content-range"] == f"bytes {start}-{start + size - 1}/{total}"
    assert answer.headers["x-amz-mp-parts-count"] == "3"


@pytest.mark.parametrize("start", [0, 100, (5 << 20) - 1, 5 << 20, (11 << 20) - 5, 11 << 20])
@pytest.mark.parametrize("length", [1, 80, 70_000, 2 << 20])
def test_ranges_across_parts(
    gateway: Gateway, in_parts: list[bytes], start: int, length: int
) -> None:
    whole = b"".join(in_parts)
    answer = gateway.ask("GET", "/cnet/parts", {"range": f"bytes={start}-{start + length - 1}"})
    assert answer.status == 206
    assert answer.body == whole[start : start + length]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("partNumber=4", 416, "InvalidPartNumber"),
        ("partNumber=0", 400, "InvalidArgument"),
        ("partNumber=10001", 400, "InvalidArgument"),
        ("partNumber=x", 400, "InvalidArgument"),
    ],
)
def test_parts_that_are_not_there(
    gateway: Gateway, in_parts: list[bytes], query: str, status: int, code: str
) -> None:
    answer = gateway.ask("GET", f"/cnet/parts?{query}")
    assert (answer.status, answer.code) == (status, code)


def test_part_of_a_file_without_parts(gateway: Gateway, stored: dict[str, str]) -> None:
    assert gateway.ask("GET", "/cnet/file?partNumber=1").body == BODY
    assert gateway.ask("GET", "/cnet/file?partNumber=2").status == 416
    both = gateway.ask("GET", "/cnet/file?partNumber=1", {"range": "bytes=0-1"})
    assert (both.status, both.code) == (400, "InvalidRequest")


def test_attributes(gateway: Gateway, in_parts: list[bytes]) -> None:
    wanted = {"x-amz-object-attributes": "ETag,Checksum,ObjectParts,StorageClass,ObjectSize"}
    answer = gateway.ask("GET", "/cnet/parts?attributes", wanted)
    assert answer.xml.tag == "GetObjectAttributesResponse"
    assert answer.texts("ObjectSize") == [str(sum(map(len, in_parts)))]
    assert answer.texts("ObjectParts/PartsCount") == ["3"]
    assert answer.texts("ObjectParts/Part/Size") == [str(len(body)) for body in in_parts]
    assert answer.texts("ETag")[0].endswith("-3")
    assert answer.texts("StorageClass") == ["STANDARD"]
    paged = gateway.ask("GET", "/cnet/parts?attributes", {**wanted, "x-amz-max-parts": "2"})
    assert paged.texts("ObjectParts/IsTruncated") == ["true"]
    assert paged.texts("ObjectParts/NextPartNumberMarker") == ["2"]


@pytest.mark.parametrize("wanted", ["", "ETag,Colour"])
def test_attributes_there_are_none_of(
    gateway: Gateway, stored: dict[str, str], wanted: str
) -> None:
    answer = gateway.ask("GET", "/cnet/file?attributes", {"x-amz-object-attributes": wanted})
    assert (answer.status, answer.code) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("word", "status", "code"),
    [
        ("acl", 200, None),
        ("tagging", 200, None),
        ("retention", 400, "InvalidRequest"),
        ("legal-hold", 400, "InvalidRequest"),
        ("torrent", 501, "NotImplemented"),
    ],
)
def test_what_else_is_asked_of_a_file(
    gateway: Gateway, stored: dict[str, str], word: str, status: int, code: str | None
) -> None:
    answer = gateway.ask("GET", f"/cnet/file?{word}")
    assert (answer.status, answer.code) == (status, code)
    if status != 501:
        assert gateway.ask("GET", f"/cnet/none?{word}").code == "NoSuchKey"


def test_metadata_of_any_language_comes_back(s3: Any, gateway: Gateway) -> None:
    text = "grün"
    gateway.put("/cnet/meta", b"", x_amz_meta_plain="a b", x_amz_meta_empty="")
    told = s3.head_object(Bucket="cnet", Key="meta")["Metadata"]
    assert told == {"plain": "a b", "empty": ""}
    # Raw UTF-8 in a header is nothing botocore sends, but others do.
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        presigned, _ = gateway.sign("PUT", "/cnet/meta", presigned_s=60)
        head = f"PUT {presigned} HTTP/1.1\r\nhost: 127.0.0.1:{gateway.port}\r\n"
        head += f"content-length: 0\r\ncache-control: {text}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert gateway.ask("HEAD", "/cnet/meta").headers["cache-control"] == "=?UTF-8?B?Z3LDvG4=?="


def test_client_that_reads_nothing_holds_nobody_up(gateway: Gateway) -> None:
    gateway.put("/cnet/large", b"x" * (16 << 20))
    target, headers = gateway.sign("GET", "/cnet/large")
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"GET {target} HTTP/1.1\r\n{head}\r\n".encode()
    idle = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(40)]
    try:
        for connection in idle:
            connection.sendall(request)
        assert len(gateway.ask("GET", "/cnet/large").body) == 16 << 20
        received = 0
        while chunk := idle[0].recv(1 << 20):
            received += len(chunk)
            if received > 16 << 20:
                break
        assert received > 16 << 20
    finally:
        for connection in idle:
            connection.close()
    assert gateway.ask("GET", "/cnet/file").status == 200
