"""AWS Signature Version 4: is this request what the holder of an access key signed?

Follows the published algorithm for the service `s3`: the path is encoded once and never
normalised. What a client sends may be encoded in another way than what it signed (the AWS SDK for
C++), so path and query are decoded and encoded anew; and some sign exactly what they send, though
it is not encoded by the rules. Either way the signature stands for what the request means here.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from cnet.gateway.claims import ALGORITHM, Claim, Scope, read_claim
from cnet.gateway.errors import S3Error
from cnet.gateway.wire import WireRequest

EMPTY_SHA256 = hashlib.sha256().hexdigest()

SecretOf = Callable[[str], str | None]
"""The secret of an access key id; None where there is no such key."""


class Signed(NamedTuple):
    """A verified signature, and what the chunks of a streamed body are verified with."""

    access_key: str
    payload: str
    """x-amz-content-sha256: the hash of the body in hex, or one of the words for other forms"""
    signature: str
    stamp: str
    scope: Scope
    signing_key: bytes


def verify(
    request: WireRequest, secret_of: SecretOf, *, clock: Callable[[], float] = time.time
) -> Signed:
    """The verified signature of header or query; raises S3Error for every other request."""
    claim = read_claim(request, clock())
    secret = secret_of(claim.access_key)
    if secret is None:
        raise S3Error("InvalidAccessKeyId", extra={"AWSAccessKeyId": claim.access_key})
    key = signing_key(secret, claim.scope)
    _compare(request, claim, key)
    return Signed(claim.access_key, claim.payload, claim.signature, claim.stamp, claim.scope, key)


def _compare(request: WireRequest, claim: Claim, key: bytes) -> None:
    given = claim.signature if claim.signature.isascii() else ""
    told: tuple[str, str] | None = None
    for head in (_encoded_head, _verbatim_head):
        canonical = canonical_request(request, head(request), claim)
        to_sign = string_to_sign(claim.stamp, claim.scope, canonical)
        if hmac.compare_digest(sign(key, to_sign), given):
            return
        told = told or (to_sign, canonical.decode("utf-8", "replace"))
    to_sign, text = told or ("", "")
    raise S3Error(
        "SignatureDoesNotMatch",
        extra={
            "AWSAccessKeyId": claim.access_key,
            "StringToSign": to_sign,
            "SignatureProvided": claim.signature,
            "CanonicalRequest": text,
        },
    )


def canonical_request(request: WireRequest, head: str, claim: Claim) -> bytes:
    """The text whose hash is signed; `head` is method, path and query."""
    known = request.headers
    headers = [b"%b:%b\n" % (name, b" ".join(known[name].split())) for name in claim.headers.names]
    end = f"{claim.headers.listed}\n{claim.payload}"
    return b"%b\n%b\n%b" % (head.encode(), b"".join(headers), end.encode("utf-8", "replace"))


def _encoded_head(request: WireRequest) -> str:
    """As the algorithm is published: decoded and encoded anew."""
    if not request.query:
        return f"{request.method}\n{_encode_path(request.raw_path)}\n"
    pairs = [
        (_encode(name), _encode(value))
        for name, value in request.query
        if name != b"X-Amz-Signature"
    ]
    pairs.sort()
    query = "&".join([f"{name}={value}" for name, value in pairs])
    return f"{request.method}\n{_encode_path(request.raw_path)}\n{query}"


def _verbatim_head(request: WireRequest) -> str:
    """As clients sign what they did not encode by the rules: just as they send it."""
    items = [item.partition(b"=") for item in request.raw_query.split(b"&") if item]
    pairs = sorted(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, _, value in items
        if name != b"X-Amz-Signature"
    )
    query = "&".join([f"{name}={value}" for name, value in pairs])
    return f"{request.method}\n{request.raw_path.decode('latin-1')}\n{query}"


def string_to_sign(stamp: str, scope: Scope, canonical: bytes) -> str:
    """What the signing key is applied to."""
    return f"{ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}"


def sign(key: bytes, text: str) -> str:
    """HMAC-SHA-256 in hex."""
    return hmac.digest(key, text.encode(), "sha256").hex()


@lru_cache(maxsize=256)
def signing_key(secret: str, scope: Scope) -> bytes:
    """The key of one day, region and service."""
    key = b"AWS4" + secret.encode()
    for word in (scope.date, scope.region, scope.service, "aws4_request"):
        key = hmac.digest(key, word.encode(), "sha256")
    return key


def _encode(raw: bytes) -> str:
    return quote_from_bytes(raw, safe="-_.~")


@lru_cache(maxsize=4096)
def _encode_path(raw_path: bytes) -> str:
    return quote_from_bytes(unquote_to_bytes(raw_path), safe="/-_.~")
