"""What a signed request claims: by which key, for which day and region, over which headers."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from cnet.gateway.errors import S3Error
from cnet.gateway.wire import WireRequest

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
SKEW_S = 15 * 60
MAX_EXPIRES_S = 7 * 24 * 3600

_MECHANISM = (
    "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
)
_STAMP = re.compile(r"\d{8}T\d{6}Z")
_QUERY_FIELDS = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)


class Scope(NamedTuple):
    """What a signing key is good for."""

    date: str
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


class SignedHeaders(NamedTuple):
    """Which headers a signature covers, in their order."""

    listed: str
    """names joined by `;`"""
    names: tuple[bytes, ...]
    known: frozenset[bytes]


class Claim(NamedTuple):
    """All that the signature is computed from, besides the request itself."""

    access_key: str
    scope: Scope
    headers: SignedHeaders
    signature: str
    stamp: str
    """when it was signed, as 20261121T083000Z"""
    payload: str
    """x-amz-content-sha256"""


def is_presigned(request: WireRequest) -> bool:
    """Whether the query holds a signature of this version."""
    return b"X-Amz-" in request.raw_query and any(
        name in (b"X-Amz-Algorithm", b"X-Amz-Signature", b"X-Amz-Credential")
        for name, _ in request.query
    )


def read_claim(request: WireRequest, now: float) -> Claim:
    """What header or query claim; raises S3Error for what cannot be right at this time."""
    presigned = is_presigned(request)
    if presigned and b"authorization" in request.headers:
        raise S3Error("InvalidArgument", "Only one auth mechanism allowed")
    if b"x-amz-security-token" in request.headers or any(
        name == b"X-Amz-Security-Token" for name, _ in request.query
    ):
        raise S3Error("InvalidToken")  # there are no temporary credentials here
    claim = _from_query(request, now) if presigned else _from_header(request, now)
    _check_covered(request, claim.headers)
    return claim


def _from_header(request: WireRequest, now: float) -> Claim:
    text = request.header(b"authorization") or ""
    word, _, rest = text.strip().partition(" ")
    if word != ALGORITHM:
        raise S3Error("InvalidRequest", _MECHANISM)
    # Nearly all clients put the signature last; what stands before it can be kept.
    first, _, last = rest.rpartition(",")
    name, _, signature = last.strip().partition("=")
    if name != "Signature":
        first, signature = rest, ""
    access_key, scope, headers, inner = _parts_of_header(first)
    if bool(signature) == bool(inner):
        raise _malformed("There must be one Signature.")
    payload = request.header(b"x-amz-content-sha256")
    if payload is None:
        raise S3Error(
            "InvalidRequest", "Missing required header for this request: x-amz-content-sha256"
        )
    stamp = _header_stamp(request)
    moment = _moment(stamp)
    if moment is None:
        raise S3Error(
            "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"
        )
    if scope.date != stamp[:8]:
        raise _malformed(f"Date in Credential scope does not match {stamp[:8]}.")
    if abs(now - moment) > SKEW_S:
        raise S3Error(
            "RequestTimeTooSkewed",
            extra={
                "RequestTime": stamp,
                "ServerTime": iso_time(now),
                "MaxAllowedSkewMilliseconds": str(SKEW_S * 1000),
            },
        )
    return Claim(access_key, scope, headers, signature or inner, stamp, payload)


@lru_cache(maxsize=1024)
def _parts_of_header(text: str) -> tuple[str, Scope, SignedHeaders, str]:
    """The fields in front of the signature, which are the same for a client's whole day."""
    fields: dict[str, str] = {}
    for item in text.split(","):
        name, equals, value = item.strip().partition("=")
        if not equals or name in fields:
            raise _malformed(f"{item.strip()!r} is no field, or was given twice.")
        fields[name] = value
    missing = {"Credential", "SignedHeaders"} - fields.keys()
    if missing:
        raise _malformed(f"{', '.join(sorted(missing))} is missing.")
    access_key, scope = _credential(fields["Credential"], _malformed)
    return access_key, scope, _signed_headers(fields["SignedHeaders"]), fields.get("Signature", "")


def _header_stamp(request: WireRequest) -> str:
    stamp = request.header(b"x-amz-date")
    if stamp is not None:
        return stamp.strip()
    date = request.header(b"date") or ""
    if _STAMP.fullmatch(date):
        return date
    try:
        moment = datetime.strptime(date, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return ""
    return moment.strftime("%Y%m%dT%H%M%SZ")


def _from_query(request: WireRequest, now: float) -> Claim:
    fields: dict[str, str] = {}
    for name, value in request.query:
        text = name.decode("latin-1")
        if text in _QUERY_FIELDS or text == "X-Amz-Content-Sha256":
            if text in fields:
                raise _bad_query(f"{text} was given twice.")
            fields[text] = value.decode("utf-8", "replace")
    if not fields.keys() >= set(_QUERY_FIELDS):
        raise _bad_query(f"A signature in the query needs {', '.join(_QUERY_FIELDS)}.")
    if fields["X-Amz-Algorithm"] != ALGORITHM:
        raise _bad_query(f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    access_key, scope = _credential(fields["X-Amz-Credential"], _bad_query)
    stamp = fields["X-Amz-Date"]
    moment = _moment(stamp)
    if moment is None:
        raise _bad_query("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    if scope.date != stamp[:8]:
        raise _bad_query(f"Date in Credential scope does not match {stamp[:8]}.")
    expires = fields["X-Amz-Expires"]
    if not (expires.isascii() and expires.isdigit() and len(expires) < 10):
        raise _bad_query("X-Amz-Expires should be a number")
    if int(expires) > MAX_EXPIRES_S:
        raise _bad_query(f"X-Amz-Expires must be less than a week (in seconds); {MAX_EXPIRES_S}")
    if now < moment - SKEW_S:
        raise S3Error("AccessDenied", "Request is not valid yet")
    if now > moment + int(expires):
        extra = {
            "X-Amz-Expires": expires,
            "Expires": iso_time(moment + int(expires)),
            "ServerTime": iso_time(now),
        }
        raise S3Error("AccessDenied", "Request has expired", extra=extra)
    headers = _signed_headers(fields["X-Amz-SignedHeaders"])
    payload = fields.get("X-Amz-Content-Sha256")
    if payload is None:
        payload = request.header(b"x-amz-content-sha256") or UNSIGNED
    return Claim(access_key, scope, headers, fields["X-Amz-Signature"], stamp, payload)


def _credential(text: str, problem: Callable[[str], S3Error]) -> tuple[str, Scope]:
    access_key, *rest = text.rsplit("/", 4)
    if len(rest) != 4 or not access_key:
        raise problem(
            "The Credential is mal-formed; expecting "
            '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
        )
    date, region, service, terminal = rest
    if service != "s3":
        raise problem(f'Incorrect service "{service}". This endpoint belongs to "s3".')
    if terminal != "aws4_request":
        raise problem(f'Incorrect terminal "{terminal}". This endpoint uses "aws4_request".')
    if not region:
        raise problem("The region in the Credential is empty.")
    return access_key, Scope(date, region, service)


@lru_cache(maxsize=1024)
def _signed_headers(text: str) -> SignedHeaders:
    names = text.split(";")
    if names != sorted(set(names)) or any(name != name.lower() for name in names):
        raise _malformed("SignedHeaders must be in lower case, sorted, and each there once.")
    if "host" not in names:
        raise _malformed("SignedHeaders must contain host.")
    encoded = tuple(name.encode("utf-8", "replace") for name in names)
    return SignedHeaders(text, encoded, frozenset(encoded))


def _check_covered(request: WireRequest, headers: SignedHeaders) -> None:
    """Each signed header must be there, and each of Amazon's own must be signed."""
    signed = headers.known
    absent = signed.difference(request.headers)
    if absent:
        listed = b", ".join(sorted(absent)).decode("utf-8", "replace")
        raise S3Error("SignatureDoesNotMatch", f"Signed headers that the request lacks: {listed}.")
    unsigned = [
        name.decode("latin-1")
        for name in request.headers
        if name not in signed and name.startswith(b"x-amz-")
    ]
    if unsigned:
        raise S3Error(
            "AccessDenied",
            "There were headers present in the request which were not signed",
            extra={"HeadersNotSigned": ", ".join(sorted(unsigned))},
        )


def _moment(stamp: str) -> float | None:
    if not (stamp.isascii() and _STAMP.fullmatch(stamp)):
        return None
    try:
        return _unix(stamp)
    except ValueError:
        return None


@lru_cache(maxsize=256)
def _unix(stamp: str) -> float:
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


def iso_time(moment: float) -> str:
    """To the second, as error replies have it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _malformed(why: str) -> S3Error:
    return S3Error("AuthorizationHeaderMalformed", f"The authorization header is malformed; {why}")


def _bad_query(why: str) -> S3Error:
    return S3Error("AuthorizationQueryParametersError", why)
