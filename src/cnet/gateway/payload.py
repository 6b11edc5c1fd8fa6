"""The body of a request: in which form it comes, and what it must turn out to be."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncIterator

import anyio

from cnet.errors import DigestError, SpecError
from cnet.gateway import chunked
from cnet.gateway.claims import UNSIGNED
from cnet.gateway.errors import S3Error
from cnet.gateway.sigv4 import EMPTY_SHA256, Signed
from cnet.gateway.wire import Receive, WireRequest
from cnet.storage import digests
from cnet.storage.base import Expected

MAX_PUT = 5 * 1024**3
"""Bytes of one PutObject or UploadPart, as in S3."""

_IDLE_S = 60.0
_GATHER = 64 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHECKSUM = "x-amz-checksum-"
_CHECKSUM_HEADER = _CHECKSUM.encode()
_NOT_VALUES = ("algorithm", "type", "mode")


class ClientGoneError(Exception):
    """The connection broke; there is nobody to answer."""


class Payload:
    """Reads the body once. `expected` may be passed on before: trailers fill it in at the end."""

    def __init__(self, request: WireRequest, receive: Receive, signed: Signed | None) -> None:
        self._receive = receive
        self.asked_for = False
        """whether the client was told to send it"""
        word = signed.payload if signed else request.header(b"x-amz-content-sha256") or UNSIGNED
        self._decoder: chunked.ChunkDecoder | None = None
        sha256 = None
        if word in chunked.FORMS:
            self._decoder = chunked.ChunkDecoder(word, signed)
        elif _SHA256.fullmatch(word):
            sha256 = word
        elif word != UNSIGNED:
            raise S3Error(
                "InvalidArgument",
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, "
                f"{', '.join(sorted(chunked.FORMS))}, or a valid sha256 value.",
            )
        self.length = _announced(request, decoded=self._decoder is not None)
        self._has_body = bool(self.length) or b"transfer-encoding" in request.headers
        self._trailer = _announced_trailer(request) if self._decoder else None
        self.checksums = _checksums(request, self._trailer)
        self.expected = Expected(
            size=self.length, md5=_content_md5(request), sha256=sha256, checksums=self.checksums
        )

    async def content(self) -> AsyncIterator[bytes]:
        """The decoded content; what comes in single bytes is gathered."""
        gathered: list[bytes] = []
        size = total = 0
        async for data in self._raw():
            for piece in (data,) if self._decoder is None else self._decoder.feed(data):
                size += len(piece)
                total += len(piece)
                if self.length is not None and total > self.length:
                    raise S3Error("IncompleteBody", "The body is longer than was announced.")
                gathered.append(piece)
            if size >= _GATHER:
                yield b"".join(gathered) if len(gathered) > 1 else gathered[0]
                gathered.clear()
                size = 0
        if self._decoder is not None:
            self._decoder.end()
            self._take_trailers(self._decoder.trailers)
        if self.length is not None and total != self.length:
            raise S3Error("IncompleteBody", f"{total} bytes came, {self.length} were announced.")
        if gathered:
            yield b"".join(gathered)

    async def read(self, limit: int) -> bytes:
        """All of a small body, checked."""
        if self.length is not None and self.length > limit:
            raise S3Error("MalformedXML", f"The body may have at most {limit} bytes here.")
        body = bytearray()
        async for piece in self.content():
            body += piece
            if len(body) > limit:
                raise S3Error("MalformedXML", f"The body may have at most {limit} bytes here.")
        running = digests.Digests(self.checksums)
        running.update(body, None)
        expected = self.expected
        try:
            running.check(
                size=None, md5=expected.md5, sha256=expected.sha256, checksums=self.checksums
            )
        except DigestError as error:
            raise self.digest_problem(error) from None
        return bytes(body)

    async def expect_none(self) -> None:
        """For operations without a body: a signed hash of one must be right all the same."""
        if self._has_body:
            await self.read(1 << 20)
        elif self.expected.sha256 not in (None, EMPTY_SHA256):
            raise self._other_sha256()

    def require_length(self) -> None:
        """For operations that store the body."""
        if self.length is None:
            raise S3Error("MissingContentLength")
        if self.length > MAX_PUT:
            raise S3Error(
                "EntityTooLarge",
                extra={"ProposedSize": str(self.length), "MaxSizeAllowed": str(MAX_PUT)},
            )

    def digest_problem(self, error: DigestError) -> S3Error:
        """What S3 calls it when the store found something else than was announced."""
        if error.field == "size":
            return S3Error("IncompleteBody", error.message)
        if error.field == "sha256":
            return self._other_sha256()
        if error.field == "md5":
            return S3Error("BadDigest", "The Content-MD5 you specified did not match what came.")
        name = (error.field or "checksum").removeprefix("checksum_").upper()
        return S3Error("BadDigest", f"The {name} you specified did not match what came.")

    def _other_sha256(self) -> S3Error:
        return S3Error(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )

    async def _raw(self) -> AsyncIterator[bytes]:
        self.asked_for = True
        while True:
            try:
                with anyio.fail_after(_IDLE_S):
                    message = await self._receive()
            except TimeoutError:
                raise S3Error("RequestTimeout", headers=((b"connection", b"close"),)) from None
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            data: bytes = message.get("body", b"")
            if data:
                yield data
            if not message.get("more_body", False):
                return

    def _take_trailers(self, trailers: dict[str, str]) -> None:
        given = {name for name in trailers if name.startswith(_CHECKSUM)}
        announced = {_CHECKSUM + self._trailer} if self._trailer else set()
        if given != announced:
            raise S3Error(
                "InvalidRequest",
                f"The trailing headers are {sorted(given)}; announced were {sorted(announced)}.",
            )
        if self._trailer:
            value = trailers[_CHECKSUM + self._trailer]
            self.checksums[self._trailer] = _valid(self._trailer, value, "trailing header")


def checksum_algorithm(text: str, header: str) -> str:
    """The store's word for an algorithm as S3 spells it."""
    name = text.strip().lower()
    if name not in digests.SIZES:
        allowed = ", ".join(name.upper() for name in digests.SIZES)
        raise S3Error("InvalidRequest", f"{header}: {text!r} is not one of {allowed}.")
    return name


def _announced(request: WireRequest, *, decoded: bool) -> int | None:
    name = b"x-amz-decoded-content-length" if decoded else b"content-length"
    text = request.headers.get(name)
    if text is None:
        if decoded:
            raise S3Error("MissingContentLength", "x-amz-decoded-content-length is missing.")
        return None
    if not text.isdigit() or len(text) > 18:
        raise S3Error("InvalidArgument", f"{name.decode()} must be a whole number.")
    return int(text)


def _content_md5(request: WireRequest) -> str | None:
    text = request.headers.get(b"content-md5")
    if text is None:
        return None
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 16:
        raise S3Error("InvalidDigest", "The Content-MD5 you specified is not valid.")
    return raw.hex()


def _checksums(request: WireRequest, trailer: str | None) -> dict[str, str]:
    """Algorithm → base64; empty where it is yet to come, or only to be computed."""
    found = {} if trailer is None else {trailer: ""}
    for raw_name in request.headers:
        if not raw_name.startswith(_CHECKSUM_HEADER):
            continue
        name = raw_name.decode("latin-1")[len(_CHECKSUM) :]
        if name in _NOT_VALUES:
            continue
        algorithm = checksum_algorithm(name, "x-amz-checksum-…")
        found[algorithm] = _valid(algorithm, request.header(raw_name) or "", "header")
    if len(found) > 1:
        raise S3Error(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    wanted = request.header(b"x-amz-sdk-checksum-algorithm")
    if wanted is not None:
        algorithm = checksum_algorithm(wanted, "x-amz-sdk-checksum-algorithm")
        if found and algorithm not in found:
            raise S3Error(
                "InvalidRequest",
                "Value for x-amz-sdk-checksum-algorithm header is not that of the checksum given.",
            )
        found.setdefault(algorithm, "")
    return found


def _announced_trailer(request: WireRequest) -> str | None:
    text = request.header(b"x-amz-trailer")
    if text is None:
        return None
    name = text.strip().lower()
    if not name.startswith(_CHECKSUM):
        raise S3Error(
            "InvalidRequest",
            f"The value specified in the x-amz-trailer header is not supported: {name!r}",
        )
    return checksum_algorithm(name[len(_CHECKSUM) :], "x-amz-trailer")


def _valid(algorithm: str, value: str, where: str) -> str:
    # A composite checksum (of a whole multipart upload) has `-` and the number of parts behind it.
    plain, dash, parts = value.partition("-")
    try:
        digests.decode(algorithm, plain)
    except SpecError:
        plain = ""
    if not plain or (dash and not parts.isdigit()):
        raise S3Error("InvalidRequest", f"Value for {_CHECKSUM}{algorithm} {where} is invalid.")
    return value
