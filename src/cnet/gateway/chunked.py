"""The content encoding `aws-chunked`: chunks with a size, perhaps a signature, then trailers.

    5;chunk-signature=<64 hex>\\r\\nhello\\r\\n0;chunk-signature=<64 hex>\\r\\n
    x-amz-checksum-crc32:<base64>\\r\\nx-amz-trailer-signature:<64 hex>\\r\\n\\r\\n

Works on any division of the bytes, and holds no more than one line of them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator

from cnet.gateway.errors import S3Error
from cnet.gateway.sigv4 import EMPTY_SHA256, Signed, sign

SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
FORMS = frozenset({SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER})

_MAX_LINE = 8192
_MAX_TRAILERS = 16
_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?[ \t]*")
_SIGNATURE = "x-amz-trailer-signature"


class ChunkDecoder:
    """Turns the bytes of one such body into its content; `trailers` is filled at the end.

    `signed` is given where the chunks carry signatures: content is handed out before the signature
    behind it is known, so nothing may be kept of a body whose decoding raised.
    """

    def __init__(self, form: str, signed: Signed | None) -> None:
        if form != UNSIGNED_TRAILER and signed is None:
            raise S3Error("AccessDenied", "A body with signed chunks needs a signed request.")
        self._signed = signed if form != UNSIGNED_TRAILER else None
        self._takes_trailers = form != SIGNED
        self._previous = signed.signature if signed else ""
        self._line = bytearray()
        self._state = self._in_size
        self._left = 0
        self._chunk_signature = ""
        self._hash = hashlib.sha256()
        self._covered = bytearray()
        self.trailers: dict[str, str] = {}
        self.finished = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The content in `data`."""
        view = memoryview(data)
        while len(view):
            if self.finished:
                raise _incomplete("there are bytes behind the last chunk")
            if self._left:
                piece = view[: self._left]
                self._left -= len(piece)
                view = view[len(piece) :]
                content = bytes(piece)
                if self._signed:
                    self._hash.update(content)
                yield content
                if not self._left:
                    self._state = self._behind_content
                continue
            view = self._take_line(view)

    def end(self) -> None:
        """Raises S3Error IncompleteBody when the body broke off."""
        if self.finished:
            return
        if not (self._state == self._in_trailers and self.trailers and not self._line):
            raise _incomplete("the body ends within a chunk")
        self._finish_trailers()  # some clients leave the last empty line away

    def _take_line(self, view: memoryview) -> memoryview:
        """Move bytes into the line until it is whole; then act on it."""
        room = bytes(view[: _MAX_LINE + 2])
        stop = room.find(b"\n")
        if stop < 0:
            self._line += room
            if len(self._line) > _MAX_LINE:
                raise _incomplete("a line is too long")
            return view[len(room) :]
        self._line += room[: stop + 1]
        if len(self._line) > _MAX_LINE:
            raise _incomplete("a line is too long")
        line = bytes(self._line)
        self._line.clear()
        if not line.endswith(b"\r\n") and not (self._takes_trailers and line.strip(b"\n")):
            raise _incomplete("a line does not end with CR LF")
        self._state(line.rstrip(b"\r\n"))
        return view[stop + 1 :]

    def _in_size(self, line: bytes) -> None:
        found = _SIZE.fullmatch(line)
        if found is None:
            raise _incomplete("a chunk does not begin with its size")
        self._left = int(found[1], 16)
        self._chunk_signature = (found[2] or b"").decode()
        if self._signed and not self._chunk_signature:
            raise S3Error("SignatureDoesNotMatch", "A chunk has no signature.")
        if self._left == 0:
            self._check_chunk()
            self._state = self._in_trailers if self._takes_trailers else self._at_end

    def _behind_content(self, line: bytes) -> None:
        if line:
            raise _incomplete("a chunk is longer than its size")
        self._check_chunk()
        self._state = self._in_size

    def _at_end(self, line: bytes) -> None:
        if line:
            raise _incomplete("there are bytes behind the last chunk")
        self.finished = True

    def _in_trailers(self, line: bytes) -> None:
        if not line:
            # Some clients leave an empty line in front of the trailers, or of their signature.
            if self._signed is None or _SIGNATURE in self.trailers:
                self._finish_trailers()
            return
        name, colon, value = line.partition(b":")
        if not colon or len(self.trailers) >= _MAX_TRAILERS:
            raise S3Error("MalformedXML", "The trailing headers are not well-formed.")
        try:
            key, text = name.decode("ascii").strip().lower(), value.decode("ascii").strip()
        except UnicodeDecodeError:
            raise S3Error("InvalidRequest", "A trailing header is not ASCII.") from None
        if key in self.trailers:
            raise S3Error("InvalidRequest", f"The trailing header {key} was given twice.")
        self.trailers[key] = text
        if key != _SIGNATURE:
            self._covered += f"{key}:{text}\n".encode()

    def _check_chunk(self) -> None:
        if self._signed is None:
            return
        lines = [
            "AWS4-HMAC-SHA256-PAYLOAD",
            self._signed.stamp,
            str(self._signed.scope),
            self._previous,
            EMPTY_SHA256,
            self._hash.hexdigest(),
        ]
        self._compare(lines, self._chunk_signature, "a chunk")
        self._hash = hashlib.sha256()

    def _finish_trailers(self) -> None:
        self.finished = True
        if self._signed is None:
            return
        lines = [
            "AWS4-HMAC-SHA256-TRAILER",
            self._signed.stamp,
            str(self._signed.scope),
            self._previous,
            hashlib.sha256(self._covered).hexdigest(),
        ]
        self._compare(lines, self.trailers.get(_SIGNATURE, ""), "the trailing headers")

    def _compare(self, lines: list[str], given: str, what: str) -> None:
        assert self._signed is not None  # noqa: S101 - the callers looked
        expected = sign(self._signed.signing_key, "\n".join(lines))
        if not hmac.compare_digest(expected.encode(), given.encode()):
            raise S3Error("SignatureDoesNotMatch", f"The signature of {what} does not match.")
        self._previous = expected


def _incomplete(why: str) -> S3Error:
    return S3Error("IncompleteBody", f"The aws-chunked body is malformed: {why}.")
