"""Who is asking: the one check that stands in front of every operation."""

from __future__ import annotations

import hmac
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from cnet.gateway import claims, sigv2, sigv4
from cnet.gateway.errors import S3Error
from cnet.gateway.wire import WireRequest
from cnet.storage.keys import AccessKey, KeyFile

_CHALLENGE = ((b"www-authenticate", b"Bearer"),)


class Caller(NamedTuple):
    """Whoever sent a request, and what they may do."""

    name: str
    buckets: frozenset[str] | None = None
    """None: all"""
    read_only: bool = False
    signed: sigv4.Signed | None = None
    """what chunks of the body can be verified with"""
    has_key: bool = False
    anonymous: bool = False


class Authenticator:
    """Takes signatures with a known access key, a bearer token, or nobody's word at all.

    Whoever has no access key of their own reaches `buckets` only (None: all). With `on_loopback`
    nobody's word is taken from this machine alone.
    """

    def __init__(
        self,
        keys: KeyFile | None,
        *,
        token: str | None = None,
        anonymous: bool = False,
        buckets: frozenset[str] | None = None,
        on_loopback: bool = True,
    ) -> None:
        self._keys = keys
        self._token = token.encode() if token else None
        self._on_loopback = on_loopback
        self._nobody = Caller("anonymous", buckets, anonymous=True) if anonymous else None
        self._bearer_caller = Caller("bearer", buckets)

    def authenticate(self, request: WireRequest) -> Caller:
        """The caller; raises S3Error for a request that is not to be answered."""
        word = request.headers.get(b"authorization") or None  # an empty one says nothing
        if word is None and not claims.is_presigned(request):
            if sigv2.is_presigned(request):
                return self._holder(sigv2.verify(request, self._secret_of))
            return self._unsigned(request)
        if word is not None and word[:7].lower() == b"bearer ":
            return self._bearer(word[7:].strip())
        signed = sigv4.verify(request, self._secret_of)
        return self._holder(signed.access_key, signed)

    def _holder(self, key_id: str, signed: sigv4.Signed | None = None) -> Caller:
        key = self._key(key_id)
        if key is None:
            raise S3Error("InvalidAccessKeyId")
        return Caller(key.key_id, key.buckets, key.read_only, signed, has_key=True)

    def _key(self, key_id: str) -> AccessKey | None:
        return self._keys.get(key_id) if self._keys else None

    def _secret_of(self, key_id: str) -> str | None:
        key = self._key(key_id)
        return key.secret if key else None

    def _bearer(self, given: bytes) -> Caller:
        if self._token is None or not hmac.compare_digest(given, self._token):
            raise S3Error("InvalidBearerToken", headers=_CHALLENGE)
        return self._bearer_caller

    def _unsigned(self, request: WireRequest) -> Caller:
        if self._nobody is None:
            if self._token is not None:
                raise S3Error("InvalidBearerToken", headers=_CHALLENGE)
            raise S3Error("AccessDenied")
        if not self._on_loopback:
            return self._nobody
        # A page that a browser on this machine shows must not reach what only this machine may.
        if not _is_loopback(request.header(b"host") or ""):
            raise S3Error("AccessDenied", "Without a signature, Host must be a loopback address.")
        origin = request.header(b"origin")
        if origin is not None and not _is_loopback(origin.rpartition("//")[2]):
            raise S3Error("AccessDenied", "Without a signature, Origin must be a loopback address.")
        return self._nobody


def _is_loopback(authority: str) -> bool:
    try:
        host = urlsplit(f"//{authority}").hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
