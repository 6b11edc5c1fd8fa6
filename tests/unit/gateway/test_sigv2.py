"""Presigned URLs of version 2, against botocore's signer."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import pytest
from botocore.auth import HmacV1QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from cnet.gateway import sigv2
from cnet.gateway.errors import S3Error
from cnet.gateway.wire import WireRequest

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def secret_of(key_id: str) -> str | None:
    return SECRET if key_id == KEY else None


def presign(method: str, target: str, headers: dict[str, str] | None = None) -> WireRequest:
    request = AWSRequest(method, "http://localhost" + target, headers=headers or {})
    HmacV1QueryAuth(Credentials(KEY, SECRET), expires=60).add_auth(request)
    parts = urlsplit(request.url)
    pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    return WireRequest(method, parts.path.encode(), parts.query.encode(), pairs)


def code_of(request: WireRequest, *, at: float | None = None) -> str:
    with pytest.raises(S3Error) as raised:
        sigv2.verify(request, secret_of, clock=lambda: time.time() if at is None else at)
    return raised.value.code


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE"])
@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/bucket/key", {}),
        ("/bucket/a%20b/%C3%A9%2B", {}),
        ("/bucket/key?versionId=null", {}),
        ("/bucket/key?response-content-type=text%2Fplain&response-expires=never", {}),
        ("/bucket/key?partNumber=2&uploadId=abc", {}),
        ("/bucket/key?acl", {}),
        ("/bucket/key", {"content-type": "text/plain"}),
        ("/bucket?versions", {}),
    ],
)
def test_what_botocore_signs_verifies(method: str, target: str, headers: dict[str, str]) -> None:
    assert sigv2.is_presigned(presign(method, target, headers))
    assert sigv2.verify(presign(method, target, headers), secret_of) == KEY


def changed(old: str, new: str, **headers: str) -> WireRequest:
    request = presign("GET", "/bucket/key?versionId=null")
    query = request.raw_query.decode()
    path = request.raw_path.decode()
    assert old in path + "?" + query
    path, _, query = f"{path}?{query}".replace(old, new).partition("?")
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return WireRequest("GET", path.encode(), query.encode(), pairs)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("/bucket/key", "/bucket/kez", "SignatureDoesNotMatch"),
        ("versionId=null", "versionId=nul", "SignatureDoesNotMatch"),
        ("versionId=null", "acl", "SignatureDoesNotMatch"),
        ("Signature=", "Signature=A", "SignatureDoesNotMatch"),
        ("Signature=", "Signature=%C3%A9", "SignatureDoesNotMatch"),
        ("Expires=", "Expires=1", "SignatureDoesNotMatch"),
        ("Expires=", "Expires=x", "AccessDenied"),
        ("Expires=", "Expired=", "AccessDenied"),
        (KEY, KEY + "x", "InvalidAccessKeyId"),
        ("versionId=null", "versionId=null&prefix=a", "AccessDenied"),
        ("versionId=null", "versionId=null&x-amz-acl=private", "AccessDenied"),
        ("versionId=null", "versionId=null&Expires=1", "AccessDenied"),
        ("versionId=null", "versionId=null&content-type=a", "AccessDenied"),
        ("versionId=null", "versionId=null&X-Amz-Date=a", "AccessDenied"),
    ],
)
def test_what_was_changed_does_not(old: str, new: str, code: str) -> None:
    assert code_of(changed(old, new)) == code


@pytest.mark.parametrize("headers", [{"x_amz_acl": "private"}, {"content_type": "a"}])
def test_headers_that_it_covers(headers: dict[str, str]) -> None:
    assert code_of(changed("key", "key", **headers)) == "SignatureDoesNotMatch"


def test_it_ends() -> None:
    assert code_of(presign("GET", "/bucket/key"), at=time.time() + 61) == "AccessDenied"
