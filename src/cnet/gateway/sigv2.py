"""Presigned URLs of version 2, which the AWS SDK for Python still makes for its oldest regions.

Only the query form, and only with parameters that this version signs: it leaves others (a prefix,
say) out, and a URL that anybody may extend is not what its maker gave away.
"""

from __future__ import annotations

import hmac
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from urllib.parse import quote_from_bytes, unquote_to_bytes

from cnet.gateway.claims import iso_time
from cnet.gateway.errors import S3Error
from cnet.gateway.sigv4 import SecretOf
from cnet.gateway.wire import WireRequest

_OWN = frozenset({b"AWSAccessKeyId", b"Signature", b"Expires"})
_REPEATED = (b"content-type", b"content-md5")
_SIGNED = frozenset(
    {
        b"acl",
        b"delete",
        b"legal-hold",
        b"location",
        b"partNumber",
        b"policy",
        b"response-cache-control",
        b"response-content-disposition",
        b"response-content-encoding",
        b"response-content-language",
        b"response-content-type",
        b"response-expires",
        b"retention",
        b"tagging",
        b"torrent",
        b"uploadId",
        b"uploads",
        b"versionId",
        b"versioning",
        b"versions",
    }
)


def is_presigned(request: WireRequest) -> bool:
    """Whether the query holds a signature of version 2."""
    return b"AWSAccessKeyId" in request.raw_query and any(
        name == b"AWSAccessKeyId" for name, _ in request.query
    )


def verify(
    request: WireRequest, secret_of: SecretOf, *, clock: Callable[[], float] = time.time
) -> str:
    """The access key id of a verified signature; raises S3Error for every other request."""
    fields = _fields(request)
    key_id = fields[b"AWSAccessKeyId"].decode("utf-8", "replace")
    expires = fields[b"Expires"]
    if not expires.isdigit() or len(expires) > 12:
        raise S3Error("AccessDenied", "Expires must be seconds since 1970.")
    now = clock()
    if now > int(expires):
        raise S3Error("AccessDenied", "Request has expired", extra={"ServerTime": iso_time(now)})
    secret = secret_of(key_id)
    if secret is None:
        raise S3Error("InvalidAccessKeyId", extra={"AWSAccessKeyId": key_id})
    for path in _paths(request):
        to_sign = _string_to_sign(request, path, expires)
        signature = b64encode(hmac.digest(secret.encode(), to_sign, "sha1"))
        if hmac.compare_digest(signature, fields[b"Signature"]):
            return key_id
    raise S3Error("SignatureDoesNotMatch", extra={"AWSAccessKeyId": key_id})


def _fields(request: WireRequest) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for name, value in request.query:
        if name in _OWN:
            if name in fields:
                raise S3Error("AccessDenied", f"{name.decode()} was given twice.")
            fields[name] = value
        elif name in _REPEATED:
            if request.headers.get(name) != value:
                raise S3Error("AccessDenied", f"{name.decode()} in query and header differ.")
        elif name not in _SIGNED:
            shown = name.decode("utf-8", "replace")
            raise S3Error(
                "AccessDenied", f"{shown}: a signature of version 2 does not cover that parameter."
            )
    if fields.keys() != _OWN:
        raise S3Error(
            "AccessDenied",
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId "
            "parameters",
        )
    return fields


def _paths(request: WireRequest) -> Iterator[bytes]:
    yield request.raw_path
    encoded = quote_from_bytes(unquote_to_bytes(request.raw_path), safe="/-_.~").encode()
    if encoded != request.raw_path:
        yield encoded


def _string_to_sign(request: WireRequest, path: bytes, expires: bytes) -> bytes:
    headers = request.headers
    amazon = b"".join(
        name + b":" + b" ".join(headers[name].split()) + b"\n"
        for name in sorted(headers)
        if name.startswith(b"x-amz-")
    )
    words = sorted(
        name + (b"=" + value if value else b"") for name, value in request.query if name in _SIGNED
    )
    resource = path + (b"?" + b"&".join(words) if words else b"")
    lines = [
        request.method.encode(),
        headers.get(b"content-md5", b""),
        headers.get(b"content-type", b""),
        expires,
        amazon + resource,
    ]
    return b"\n".join(lines)
