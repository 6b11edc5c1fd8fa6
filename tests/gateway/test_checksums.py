"""Checksums in headers and trailers, and the streaming forms of a body."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any

import pytest
from awscrt import checksums as crt

from cnet.gateway import claims, sigv4
from tests.gateway.gateways import SECRET, Answer, Gateway

BODY = b"hello world" * 1000
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


VALUES = {
    "crc32": _b64(zlib.crc32(BODY).to_bytes(4, "big")),
    "crc32c": _b64(crt.crc32c(BODY).to_bytes(4, "big")),
    "crc64nvme": _b64(crt.crc64nvme(BODY).to_bytes(8, "big")),
    "sha1": _b64(hashlib.sha1(BODY).digest()),
    "sha256": _b64(hashlib.sha256(BODY).digest()),
}
WRONG = {name: _b64(bytes(len(base64.b64decode(value)))) for name, value in VALUES.items()}


@pytest.mark.parametrize("name", VALUES)
def test_value_is_checked_kept_and_told(gateway: Gateway, bucket: str, name: str) -> None:
    header = f"x-amz-checksum-{name}"
    put = gateway.ask("PUT", f"/{bucket}/file", {header: VALUES[name]}, BODY)
    assert (put.status, put.headers[header]) == (200, VALUES[name])
    plain = gateway.ask("GET", f"/{bucket}/file")
    assert header not in plain.headers
    asked = {"x-amz-checksum-mode": "ENABLED"}
    for method in ("GET", "HEAD"):
        told = gateway.ask(method, f"/{bucket}/file", asked).headers
        assert (told[header], told["x-amz-checksum-type"]) == (VALUES[name], "FULL_OBJECT")
    part = gateway.ask("GET", f"/{bucket}/file", {**asked, "range": "bytes=0-5"})
    assert header not in part.headers
    attributes = gateway.ask(
        "GET", f"/{bucket}/file?attributes", {"x-amz-object-attributes": "Checksum"}
    )
    assert attributes.texts(f"Checksum/Checksum{name.upper()}") == [VALUES[name]]
    listed = gateway.ask("GET", f"/{bucket}?list-type=2")
    assert listed.texts("Contents/ChecksumAlgorithm") == [name.upper()]


@pytest.mark.parametrize("name", VALUES)
def test_wrong_value_stores_nothing(gateway: Gateway, bucket: str, name: str) -> None:
    put = gateway.ask("PUT", f"/{bucket}/file", {f"x-amz-checksum-{name}": WRONG[name]}, BODY)
    assert put.status == 400
    assert put.code in ("BadDigest", "XAmzContentSHA256Mismatch")
    assert gateway.ask("GET", f"/{bucket}/file").status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-crc32": "nonsense"},
        {"x-amz-checksum-crc32": ""},
        {"x-amz-checksum-crc32": VALUES["sha1"]},
        {"x-amz-checksum-md5": "AAAA"},
        {"x-amz-checksum-crc32": VALUES["crc32"], "x-amz-checksum-sha1": VALUES["sha1"]},
        {"x-amz-sdk-checksum-algorithm": "MD5"},
        {"x-amz-sdk-checksum-algorithm": "SHA1", "x-amz-checksum-crc32": VALUES["crc32"]},
    ],
)
def test_headers_that_make_no_sense(gateway: Gateway, bucket: str, headers: dict[str, str]) -> None:
    answer = gateway.ask("PUT", f"/{bucket}/file", headers, BODY)
    assert (answer.status, answer.code) == (400, "InvalidRequest")


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_client_checks_what_it_gets(s3: Any, bucket: str, algorithm: str) -> None:
    s3.put_object(Bucket=bucket, Key="file", Body=BODY, ChecksumAlgorithm=algorithm)
    found = s3.get_object(Bucket=bucket, Key="file", ChecksumMode="ENABLED")
    assert found["Body"].read() == BODY
    assert found[f"Checksum{algorithm}"] == VALUES[algorithm.lower()]


def chunks(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)] + [b""]


def unsigned_body(trailers: bytes, size: int = 4096) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks(BODY, size) if c)
    return framed + b"0\r\n" + trailers + b"\r\n"


def stream(
    gateway: Gateway, bucket: str, body: bytes, form: str, headers: dict[str, str]
) -> Answer:
    given = {
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(len(BODY)),
        "content-length": str(len(body)),
        **headers,
    }
    return gateway.ask("PUT", f"/{bucket}/file", given, body, payload=form)


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("size", [7, 4096, 1 << 20])
def test_trailer(gateway: Gateway, bucket: str, name: str, size: int) -> None:
    header = f"x-amz-checksum-{name}"
    body = unsigned_body(f"{header}:{VALUES[name]}\r\n".encode(), size)
    answer = stream(gateway, bucket, body, UNSIGNED_TRAILER, {"x-amz-trailer": header})
    assert (answer.status, answer.headers.get(header)) == (200, VALUES[name])
    found = gateway.ask("GET", f"/{bucket}/file")
    assert found.body == BODY
    assert "content-encoding" not in found.headers


@pytest.mark.parametrize(
    ("trailers", "headers", "code"),
    [
        ("x-amz-checksum-crc32:WRONG\r\n", {"x-amz-trailer": "x-amz-checksum-crc32"}, "BadDigest"),
        ("x-amz-checksum-crc32:x\r\n", {"x-amz-trailer": "x-amz-checksum-crc32"}, "InvalidRequest"),
        ("", {"x-amz-trailer": "x-amz-checksum-crc32"}, "InvalidRequest"),
        ("x-amz-checksum-crc32:RIGHT\r\n", {}, "InvalidRequest"),
        (
            "x-amz-checksum-crc32:RIGHT\r\n",
            {"x-amz-trailer": "x-amz-checksum-sha1"},
            "InvalidRequest",
        ),
        ("x-amz-checksum-crc32:RIGHT\r\n", {"x-amz-trailer": "x-other"}, "InvalidRequest"),
        ("nonsense\r\n", {"x-amz-trailer": "x-amz-checksum-crc32"}, "MalformedXML"),
    ],
)
def test_trailers_that_do_not_fit(
    gateway: Gateway, bucket: str, trailers: str, headers: dict[str, str], code: str
) -> None:
    text = trailers.replace("WRONG", WRONG["crc32"]).replace("RIGHT", VALUES["crc32"])
    answer = stream(gateway, bucket, unsigned_body(text.encode()), UNSIGNED_TRAILER, headers)
    assert (answer.status, answer.code) == (400, code)
    assert gateway.ask("GET", f"/{bucket}/file").status == 404


@pytest.mark.parametrize("announced", [len(BODY) - 1, len(BODY) + 1, 0])
def test_decoded_length_is_checked(gateway: Gateway, bucket: str, announced: int) -> None:
    headers = {"x-amz-decoded-content-length": str(announced)}
    answer = stream(gateway, bucket, unsigned_body(b""), UNSIGNED_TRAILER, headers)
    assert (answer.status, answer.code) == (400, "IncompleteBody")
    assert gateway.ask("GET", f"/{bucket}/file").status == 404


def test_decoded_length_is_needed(gateway: Gateway, bucket: str) -> None:
    body = unsigned_body(b"")
    answer = gateway.ask("PUT", f"/{bucket}/file", {}, body, payload=UNSIGNED_TRAILER)
    assert (answer.status, answer.code) == (411, "MissingContentLength")


def sealed_body(
    gateway: Gateway, bucket: str, form: str, headers: dict[str, str]
) -> tuple[str, dict[str, str], bytes]:
    """A request whose chunks are signed, made independently of the code under test."""
    parts = chunks(BODY, 4000)
    trailer = b"x-amz-checksum-crc32:" + VALUES["crc32"].encode()
    overhead = len(";chunk-signature=") + 64 + 4
    length = sum(len(f"{len(part):x}") + overhead + len(part) for part in parts)
    if form.endswith("TRAILER"):
        length += len(trailer) + 2 + len("x-amz-trailer-signature:") + 64 + 2
    given = {
        "content-encoding": "gzip,aws-chunked",
        "x-amz-decoded-content-length": str(len(BODY)),
        "content-length": str(length),
        **headers,
    }
    target, signed = gateway.sign("PUT", f"/{bucket}/file", given, payload=form)
    fields = {name.lower(): value for name, value in signed.items()}
    previous = fields["authorization"].rpartition("Signature=")[2]
    stamp = fields["x-amz-date"]
    scope = f"{stamp[:8]}/us-east-1/s3/aws4_request"
    key = sigv4.signing_key(SECRET, claims.Scope(stamp[:8], "us-east-1", "s3"))
    body = b""
    empty = hashlib.sha256().hexdigest()
    for part in parts:
        digest = hashlib.sha256(part).hexdigest()
        lines = ["AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, previous, empty, digest]
        previous = sigv4.sign(key, "\n".join(lines))
        body += f"{len(part):x};chunk-signature={previous}\r\n".encode() + part
        body += b"\r\n" if part or not form.endswith("TRAILER") else b""
    if form.endswith("TRAILER"):
        digest = hashlib.sha256(trailer + b"\n").hexdigest()
        seal = sigv4.sign(
            key, "\n".join(["AWS4-HMAC-SHA256-TRAILER", stamp, scope, previous, digest])
        )
        body += trailer + b"\r\nx-amz-trailer-signature:" + seal.encode() + b"\r\n\r\n"
    assert len(body) == length
    return target, signed, body


FORMS = {
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": {},
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": {"x-amz-trailer": "x-amz-checksum-crc32"},
}


@pytest.mark.parametrize("form", FORMS)
def test_signed_chunks(gateway: Gateway, bucket: str, form: str) -> None:
    target, headers, body = sealed_body(gateway, bucket, form, FORMS[form])
    answer = gateway.send("PUT", target, headers, body)
    assert answer.status == 200, answer
    found = gateway.ask("GET", f"/{bucket}/file")
    assert (found.body, found.headers["content-encoding"]) == (BODY, "gzip")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", [10, 30, 2000, 6000, -30])
def test_signed_chunks_with_one_byte_changed(
    gateway: Gateway, bucket: str, form: str, place: int
) -> None:
    target, headers, body = sealed_body(gateway, bucket, form, FORMS[form])
    changed = bytearray(body)
    changed[place] ^= 1
    answer = gateway.send("PUT", target, headers, bytes(changed))
    assert answer.status in (400, 403)
    assert gateway.ask("GET", f"/{bucket}/file").status == 404
