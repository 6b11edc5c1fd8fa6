"""PutObject, CopyObject, DeleteObject, DeleteObjects."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from tests.gateway.gateways import Gateway, md5


def put(gateway: Gateway, target: str, body: bytes, **headers: str) -> tuple[int, str | None]:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = gateway.ask("PUT", target, fields, body)
    return answer.status, answer.code


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"content_md5": md5(b"body")}, 200, None),
        ({"content_md5": md5(b"other")}, 400, "BadDigest"),
        ({"content_md5": "nonsense"}, 400, "InvalidDigest"),
        ({"content_md5": ""}, 400, "InvalidDigest"),
        ({"if_none_match": "*"}, 200, None),
        ({"if_none_match": '"etag"'}, 501, "NotImplemented"),
        ({"if_match": "*"}, 404, "NoSuchKey"),
        ({"if_match": '"841a2d689ad86bd1611447453c22c6fc"'}, 404, "NoSuchKey"),
        ({"x_amz_storage_class": "STANDARD"}, 200, None),
        ({"x_amz_storage_class": "GLACIER"}, 400, "InvalidStorageClass"),
        ({"x_amz_acl": "private"}, 200, None),
        ({"x_amz_acl": "public-read"}, 400, "AccessControlListNotSupported"),
        ({"x_amz_grant_read": "id=1"}, 400, "AccessControlListNotSupported"),
        ({"x_amz_server_side_encryption": "AES256"}, 501, "NotImplemented"),
        ({"x_amz_tagging": "a=b"}, 501, "NotImplemented"),
        ({"x_amz_object_lock_mode": "GOVERNANCE"}, 501, "NotImplemented"),
        ({"x_amz_website_redirect_location": "/x"}, 501, "NotImplemented"),
        ({"x_amz_meta_long": "x" * 2045}, 400, "MetadataTooLarge"),
        ({"x_amz_meta_long": "x" * 2044}, 200, None),
    ],
)
def test_headers_of_a_put(
    gateway: Gateway, bucket: str, headers: dict[str, str], status: int, code: str | None
) -> None:
    assert put(gateway, f"/{bucket}/file", b"body", **headers) == (status, code)
    found = gateway.ask("GET", f"/{bucket}/file")
    assert found.status == (200 if status == 200 else 404)


def test_condition_of_a_put_over_a_file(gateway: Gateway, bucket: str) -> None:
    etag = gateway.put(f"/{bucket}/file", b"old").headers["etag"]
    refused = (412, "PreconditionFailed")
    assert put(gateway, f"/{bucket}/file", b"new", if_none_match="*") == refused
    assert put(gateway, f"/{bucket}/file", b"new", if_match='"other"') == refused
    assert gateway.ask("GET", f"/{bucket}/file").body == b"old"
    assert put(gateway, f"/{bucket}/file", b"new", if_match=etag) == (200, None)
    assert gateway.ask("GET", f"/{bucket}/file").body == b"new"


def test_overwriting_takes_everything_along(gateway: Gateway, bucket: str) -> None:
    gateway.put(f"/{bucket}/file", b"old", content_type="text/old", x_amz_meta_a="1")
    gateway.put(f"/{bucket}/file", b"newer")
    answer = gateway.ask("GET", f"/{bucket}/file")
    assert answer.body == b"newer"
    assert answer.headers["content-type"] == "binary/octet-stream"
    assert "x-amz-meta-a" not in answer.headers


def test_body_that_is_not_what_was_signed(gateway: Gateway, bucket: str) -> None:
    target, headers = gateway.sign("PUT", f"/{bucket}/file", {"content-length": "4"}, b"body")
    answer = gateway.send("PUT", target, headers, b"bodi")
    assert (answer.status, answer.code) == (400, "XAmzContentSHA256Mismatch")
    assert gateway.ask("GET", f"/{bucket}/file").status == 404


def test_body_whose_hash_nobody_knows(gateway: Gateway, bucket: str) -> None:
    answer = gateway.ask("PUT", f"/{bucket}/file", {}, b"body", payload="UNSIGNED-PAYLOAD")
    assert answer.status == 200


@pytest.mark.parametrize("word", ["nonsense", "0" * 63, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"])
def test_words_for_the_payload(gateway: Gateway, bucket: str, word: str) -> None:
    answer = gateway.ask("PUT", f"/{bucket}/file", {}, b"body", payload=word)
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_length_is_needed(gateway: Gateway, bucket: str) -> None:
    target, headers = gateway.sign("PUT", f"/{bucket}/file", {"transfer-encoding": "chunked"})
    answer = gateway.send("PUT", target, headers)
    assert (answer.status, answer.code) == (411, "MissingContentLength")


def test_too_large_is_known_before_it_is_sent(gateway: Gateway, bucket: str) -> None:
    size = {"content-length": str(5 * 1024**3 + 1), "expect": "100-continue"}
    target, headers = gateway.sign("PUT", f"/{bucket}/file", size, payload="UNSIGNED-PAYLOAD")
    answer = gateway.send("PUT", target, headers)
    assert (answer.status, answer.code) == (400, "EntityTooLarge")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        ("x" * 1024, 200, None),
        ("x" * 1025, 400, "KeyTooLongError"),
        ("%C3%A9" * 512, 200, None),
        ("%C3%A9" * 513, 400, "KeyTooLongError"),
        ("a%00b", 400, "InvalidArgument"),
        ("a%01b", 400, "InvalidArgument"),
        ("%FF", 400, "InvalidURI"),
        ("%ED%A0%80", 400, "InvalidURI"),
        ("..", 200, None),
        ("../../etc/passwd", 200, None),
        ("/absolute", 200, None),
        ("a//b", 200, None),
        (".", 200, None),
        ("a%5Cb", 200, None),
        ("CON", 200, None),
        ("a%0Ab", 200, None),
        ("%20", 200, None),
        ("a+b", 200, None),
        ("%2e%2e%2f", 200, None),
        ("a%3Fb%23c", 200, None),
        ("a;b=c", 200, None),
        ("%F0%9F%98%80", 200, None),
    ],
)
def test_keys(gateway: Gateway, bucket: str, key: str, status: int, code: str | None) -> None:
    assert put(gateway, f"/{bucket}/{key}", b"body") == (status, code)
    if status == 200:
        assert gateway.ask("GET", f"/{bucket}/{key}").body == b"body"
        assert len(gateway.ask("GET", f"/{bucket}?list-type=2").texts("Contents/Key")) == 1
        assert gateway.ask("DELETE", f"/{bucket}/{key}").status == 204
    assert gateway.ask("GET", f"/{bucket}?list-type=2").texts("Contents/Key") == []


def test_deleting(gateway: Gateway, bucket: str) -> None:
    etag = gateway.put(f"/{bucket}/file", b"body").headers["etag"]
    assert gateway.ask("DELETE", f"/{bucket}/file", {"if-match": '"other"'}).status == 412
    assert gateway.ask("DELETE", f"/{bucket}/file?versionId=other").code == "NoSuchVersion"
    assert gateway.ask("GET", f"/{bucket}/file").status == 200
    assert gateway.ask("DELETE", f"/{bucket}/file", {"if-match": etag}).status == 204
    assert gateway.ask("GET", f"/{bucket}/file").status == 404
    assert gateway.ask("DELETE", f"/{bucket}/file").status == 204
    assert gateway.ask("DELETE", f"/{bucket}/file", {"if-match": etag}).code == "NoSuchKey"
    assert gateway.ask("DELETE", f"/{bucket}/file?versionId=null").status == 204
    assert gateway.ask("DELETE", "/no-such-bucket/file").code == "NoSuchBucket"


def delete_body(*entries: str, quiet: bool = False) -> bytes:
    flag = "<Quiet>true</Quiet>" if quiet else ""
    return f"<Delete>{flag}{''.join(entries)}</Delete>".encode()


def entry(key: str, **more: str) -> str:
    extra = "".join(f"<{name}>{value}</{name}>" for name, value in more.items())
    return f"<Object><Key>{key}</Key>{extra}</Object>"


def delete(gateway: Gateway, bucket: str, body: bytes) -> Any:
    return gateway.ask("POST", f"/{bucket}?delete", {"content-md5": md5(body)}, body)


def test_deleting_many(gateway: Gateway, bucket: str) -> None:
    for key in ("a", "b", "c", "d"):
        gateway.put(f"/{bucket}/{key}", b"")
    body = delete_body(
        entry("a"),
        entry("none"),
        entry("b", VersionId="null"),
        entry("c", VersionId="other"),
        entry("d", ETag="other"),
        entry("x" * 1025),
    )
    answer = delete(gateway, bucket, body)
    assert answer.status == 200
    assert sorted(answer.texts("Deleted/Key")) == ["a", "b", "none"]
    outcomes = dict(zip(answer.texts("Error/Key"), answer.texts("Error/Code"), strict=True))
    assert outcomes == {
        "c": "NoSuchVersion",
        "d": "PreconditionFailed",
        "x" * 1025: "KeyTooLongError",
    }
    assert gateway.ask("GET", f"/{bucket}?list-type=2").texts("Contents/Key") == ["c", "d"]


def test_deleting_many_quietly(gateway: Gateway, bucket: str) -> None:
    gateway.put(f"/{bucket}/a", b"")
    answer = delete(gateway, bucket, delete_body(entry("a"), entry("b"), quiet=True))
    assert answer.status == 200
    assert list(answer.xml) == []
    assert gateway.ask("GET", f"/{bucket}/a").status == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MissingRequestBodyError"),
        (b"nonsense", "MalformedXML"),
        (b"<Delete></Delete>", "MalformedXML"),
        (b"<Other/>", "MalformedXML"),
        (b"<Delete><Object></Object></Delete>", "MalformedXML"),
        (b"<Delete><Object><Key></Key></Object></Delete>", "MalformedXML"),
        (delete_body(*[entry(str(n)) for n in range(1001)]), "MalformedXML"),
        (b"<!DOCTYPE Delete [<!ENTITY a 'b'>]><Delete>&a;</Delete>", "MalformedXML"),
    ],
)
def test_deleting_nonsense(gateway: Gateway, bucket: str, body: bytes, code: str) -> None:
    answer = delete(gateway, bucket, body)
    assert (answer.status, answer.code) == (400, code)


def test_deleting_a_thousand(gateway: Gateway, bucket: str) -> None:
    answer = delete(gateway, bucket, delete_body(*[entry(str(n)) for n in range(1000)]))
    assert len(answer.texts("Deleted/Key")) == 1000


def test_deletion_is_checked_against_its_digest(gateway: Gateway, bucket: str) -> None:
    body = delete_body(entry("a"))
    wrong = gateway.ask("POST", f"/{bucket}?delete", {"content-md5": md5(b"x")}, body)
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    wrong = gateway.ask("POST", f"/{bucket}?delete", {"x-amz-checksum-crc32": "AAAAAA=="}, body)
    assert (wrong.status, wrong.code) == (400, "BadDigest")


def copy(gateway: Gateway, target: str, source: str, **headers: str) -> Any:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.ask("PUT", target, {"x-amz-copy-source": source, **fields})


@pytest.fixture
def source(gateway: Gateway, bucket: str) -> str:
    """A file to copy."""
    gateway.put(
        f"/{bucket}/source%20file", b"body", content_type="text/old", x_amz_meta_colour="blue"
    )
    return f"{bucket}/source%20file"


@pytest.mark.parametrize("slash", ["", "/"])
def test_copy_keeps_what_is_told_of_the_source(
    gateway: Gateway, bucket: str, source: str, slash: str
) -> None:
    answer = copy(gateway, f"/{bucket}/copy", slash + source, content_type="text/new")
    assert answer.status == 200
    assert answer.xml.tag == "CopyObjectResult"
    assert answer.texts("ETag") == ['"841a2d689ad86bd1611447453c22c6fc"']
    copied = gateway.ask("GET", f"/{bucket}/copy")
    assert copied.body == b"body"
    assert copied.headers["content-type"] == "text/old"
    assert copied.headers["x-amz-meta-colour"] == "blue"


def test_copy_with_new_metadata(gateway: Gateway, bucket: str, source: str) -> None:
    headers = {"content_type": "text/new", "x_amz_metadata_directive": "REPLACE"}
    assert copy(gateway, f"/{bucket}/copy", source, **headers).status == 200
    copied = gateway.ask("HEAD", f"/{bucket}/copy").headers
    assert copied["content-type"] == "text/new"
    assert "x-amz-meta-colour" not in copied


def test_copy_onto_itself(gateway: Gateway, bucket: str, source: str) -> None:
    refused = copy(gateway, f"/{source}", source)
    assert (refused.status, refused.code) == (400, "InvalidRequest")
    changed = copy(
        gateway, f"/{source}", source, x_amz_metadata_directive="REPLACE", x_amz_meta_a="1"
    )
    assert changed.status == 200
    answer = gateway.ask("GET", f"/{source}")
    assert (answer.body, answer.headers["x-amz-meta-a"]) == (b"body", "1")


def test_copy_with_a_checksum_the_source_has_not(
    gateway: Gateway, bucket: str, source: str
) -> None:
    answer = copy(gateway, f"/{bucket}/copy", source, x_amz_checksum_algorithm="SHA256")
    digest = base64.b64encode(hashlib.sha256(b"body").digest()).decode()
    assert answer.texts("ChecksumSHA256") == [digest]
    assert gateway.ask("GET", f"/{bucket}/copy").headers["x-amz-meta-colour"] == "blue"


ETAG = '"841a2d689ad86bd1611447453c22c6fc"'
PAST, FUTURE = "Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("if_match", ETAG, 200),
        ("if_match", '"other"', 412),
        ("if_none_match", ETAG, 412),
        ("if_none_match", '"other"', 200),
        ("if_modified_since", PAST, 200),
        ("if_modified_since", FUTURE, 412),
        ("if_unmodified_since", PAST, 412),
        ("if_unmodified_since", FUTURE, 200),
    ],
)
def test_conditions_of_the_source(
    gateway: Gateway, bucket: str, source: str, name: str, value: str, status: int
) -> None:
    headers = {f"x_amz_copy_source_{name}": value}
    assert copy(gateway, f"/{bucket}/copy", source, **headers).status == status


@pytest.mark.parametrize(
    ("source", "status", "code"),
    [
        ("no-slash", 400, "InvalidArgument"),
        ("", 400, "InvalidArgument"),
        ("/", 400, "InvalidArgument"),
        ("bucket/", 400, "InvalidArgument"),
        ("%FF/key", 400, "InvalidArgument"),
        ("cnet/none", 404, "NoSuchKey"),
        ("no-such-bucket/key", 404, "NoSuchBucket"),
        ("cnet/none?versionId=other", 404, "NoSuchVersion"),
        ("cnet/none?other=1", 400, "InvalidArgument"),
    ],
)
def test_sources_there_are_none_of(
    gateway: Gateway, bucket: str, source: str, status: int, code: str
) -> None:
    answer = copy(gateway, f"/{bucket}/copy", source)
    assert (answer.status, answer.code) == (status, code)


def test_condition_of_the_target(gateway: Gateway, bucket: str, source: str) -> None:
    gateway.put(f"/{bucket}/copy", b"there")
    answer = copy(gateway, f"/{bucket}/copy", source, if_none_match="*")
    assert (answer.status, answer.code) == (412, "PreconditionFailed")
    assert gateway.ask("GET", f"/{bucket}/copy").body == b"there"


@pytest.mark.parametrize(
    ("target", "code", "status"),
    [
        ("/cnet/file?tagging", "NotImplemented", 501),
        ("/cnet/file?retention", "NotImplemented", 501),
        ("/cnet/file?acl", "MalformedXML", 400),
        ("/no-such-bucket/file", "NoSuchBucket", 404),
    ],
)
def test_puts_that_are_none(gateway: Gateway, target: str, code: str, status: int) -> None:
    answer = gateway.ask("PUT", target, {}, b"x")
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize("method", ["POST", "PATCH", "TRACE", "PROPFIND"])
def test_methods_there_are_none_of(gateway: Gateway, method: str) -> None:
    answer = gateway.ask(method, "/cnet/file")
    assert (answer.status, answer.code) == (405, "MethodNotAllowed")
    assert "GET" in answer.headers["allow"]
