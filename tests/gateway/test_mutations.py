"""Signed requests that somebody changed on the way: none may be taken, none may be a fault.

CNET_TEST_MUTATIONS=n for another number of them, CNET_TEST_SEED=n for others.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import BinaryIO, Self
from urllib.parse import unquote_to_bytes

import pytest

from tests.gateway.gateways import SECRET, Gateway

COUNT = int(os.environ.get("CNET_TEST_MUTATIONS", "10000"))
SEED = int(os.environ.get("CNET_TEST_SEED", "1"))
_BYTES = b"!\"#$%&'()*+,-./0123456789:;<=>?@ABCXYZ[]^_`abcxyz{|}~"


@dataclass(frozen=True)
class Request:
    """What goes over the wire."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def wire(self) -> bytes:
        """All of it."""
        head = b"".join(b"%b: %b\r\n" % pair for pair in self.headers)
        return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (self.method, self.target, head, self.body)

    @property
    def meaning(self) -> object:
        """What the signature stands for: two requests that share it are the same request."""
        path, _, query = self.target.partition(b"?")
        pairs = sorted(
            tuple(unquote_to_bytes(word) for word in item.replace(b"+", b" ").partition(b"=")[::2])
            for item in query.split(b"&")
            if item
        )
        fields = sorted(
            (name.strip().lower(), b" ".join(self._value(name, value).split()))
            for name, value in self.headers
        )
        return self.method, unquote_to_bytes(path), pairs, fields, self.body

    @staticmethod
    def _value(name: bytes, value: bytes) -> bytes:
        if name.lower() != b"authorization":
            return value
        return b",".join(sorted(item.strip() for item in value.split(b",")))


def signed(
    gateway: Gateway,
    method: str,
    target: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    **options: int,
) -> Request:
    given = dict(headers or {}) | ({"content-length": str(len(body))} if body else {})
    target, fields = gateway.sign(method, target, given, body, **options)
    pairs = tuple((name.encode(), value.encode()) for name, value in fields.items())
    return Request(method.encode(), target.encode(), pairs, body)


@pytest.fixture(scope="module")
def originals(gateway: Gateway) -> list[Request]:
    """Requests that are taken as they are."""
    gateway.put("/cnet/there%20it/is", b"body")
    delete = b"<Delete><Object><Key>gone</Key></Object></Delete>"
    digest = {"content-md5": base64.b64encode(hashlib.md5(delete).digest()).decode()}
    return [
        signed(gateway, "GET", "/"),
        signed(gateway, "GET", "/cnet?list-type=2&prefix=there%20it&delimiter=%2F"),
        signed(gateway, "GET", "/cnet/there%20it/is"),
        signed(gateway, "GET", "/cnet/there%20it/is", presigned_s=3600),
        signed(gateway, "HEAD", "/cnet/there%20it/is?versionId=null", presigned_s=3600),
        signed(gateway, "PUT", "/cnet/written", b"some content that is signed"),
        signed(gateway, "POST", "/cnet?delete=", delete, digest),
        signed(gateway, "DELETE", "/cnet/not-there"),
    ]


def send(gateway: Gateway, wire: bytes, *, whole: bool = True) -> int | None:
    """The status; None where the connection was closed without one.

    What may not be a whole request is followed by the end of the connection.
    """
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.sendall(wire)
        if not whole:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while b"\r\n" not in received:
            chunk = connection.recv(65_536)
            if not chunk:
                break
            received += chunk
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", received)
    return int(found[1]) if found else None


class KeptConnection:
    """Sends whole requests one after the other; opens another connection where one was closed."""

    def __init__(self, gateway: Gateway) -> None:
        self._port = gateway.port
        self._stream: socket.socket | None = None
        self._reader: BinaryIO = BytesIO()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        self._reader.close()
        if self._stream is not None:
            self._stream.close()
        self._stream = None

    def status_of(self, request: Request) -> int | None:
        """The status of the answer, read to its end; None where there is none."""
        used = self._stream is not None
        status = self._exchange(request)
        return self._exchange(request) if status is None and used else status

    def _exchange(self, request: Request) -> int | None:
        if self._stream is None:
            self._stream = socket.create_connection(("127.0.0.1", self._port), timeout=20)
            self._stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._reader = self._stream.makefile("rb")
        try:
            self._stream.sendall(request.wire)
            found = re.match(rb"HTTP/1\.1 (\d{3}) ", self._reader.readline())
            status = int(found[1]) if found else None
            fields = {}
            while line := self._reader.readline().strip():
                name, _, value = line.partition(b":")
                fields[name.lower()] = value.strip().lower()
            if request.method != b"HEAD":
                self._reader.read(int(fields.get(b"content-length", b"0")))
        except ConnectionError:
            status, fields = None, {}
        if status is None or fields.get(b"connection") == b"close":
            self.close()
        return status


def changed_byte(rng: random.Random, text: bytes) -> bytes:
    """`text` with one byte replaced, added, removed, or two swapped."""
    place = rng.randrange(len(text)) if text else 0
    new = bytes([rng.choice(_BYTES)])
    match rng.randrange(4):
        case 0:
            return text[:place] + new + text[place + 1 :]
        case 1:
            return text[:place] + new + text[place:]
        case 2:
            return text[:place] + text[place + 1 :]
        case _:
            other = rng.randrange(len(text)) if text else 0
            swapped = bytearray(text)
            if text:
                swapped[place], swapped[other] = swapped[other], swapped[place]
            return bytes(swapped)


def mutated(rng: random.Random, request: Request) -> Request:
    """The request with one part of what is signed changed."""
    match rng.choice(("method", "target", "target", "header", "header", "header", "body", "more")):
        case "method":
            methods = [b"GET", b"HEAD", b"PUT", b"POST", b"DELETE"]
            return replace(request, method=rng.choice(methods))
        case "target":
            return replace(request, target=b"/" + changed_byte(rng, request.target[1:]))
        case "body":
            body = changed_byte(rng, request.body) if request.body else b""
            return replace(request, body=body.ljust(len(request.body))[: len(request.body)])
        case "more":
            name = rng.choice(
                [b"x-amz-meta-more", b"x-amz-copy-source", b"x-amz-acl", b"x-amz-date"]
            )
            return replace(request, headers=(*request.headers, (name, b"/cnet/there")))
        case _:
            place = rng.randrange(len(request.headers) or 1)
            if not request.headers:
                return request
            pairs = list(request.headers)
            name, value = pairs[place]
            if name.lower() == b"content-length":
                return request
            if rng.random() < 0.1:
                del pairs[place]
            else:
                pairs[place] = (name, changed_byte(rng, value))
            return replace(request, headers=tuple(pairs))


def test_originals_are_taken(gateway: Gateway, originals: list[Request]) -> None:
    assert [send(gateway, request.wire) for request in originals] == [200] * 7 + [204]


def test_no_mutated_request_is_taken(gateway: Gateway, originals: list[Request]) -> None:
    rng = random.Random(SEED)
    gateway.put("/cnet/written", b"before")
    listed = gateway.ask("GET", "/cnet?list-type=2").texts("Contents/ETag")
    tried = 0
    with KeptConnection(gateway) as connection:
        while tried < COUNT:
            original = rng.choice(originals)
            request = mutated(rng, original)
            if rng.random() < 0.2:
                request = mutated(rng, request)
            if request.meaning == original.meaning:
                continue
            tried += 1
            status = connection.status_of(request)
            assert status is None or 400 <= status < 500, (
                f"{status}\n{request.wire!r}\n{original.wire!r}"
            )
    assert gateway.ask("GET", "/cnet?list-type=2").texts("Contents/ETag") == listed
    said = gateway.log.read_text()
    assert "Traceback" not in said
    assert SECRET not in said


def test_damaged_bytes_are_no_fault(gateway: Gateway, originals: list[Request]) -> None:
    rng = random.Random(SEED)
    for _ in range(COUNT // 20):
        wire = bytearray(rng.choice(originals).wire)
        for _ in range(rng.randint(1, 5)):
            wire[rng.randrange(len(wire))] = rng.randrange(256)
        status = send(gateway, bytes(wire), whole=False)
        assert status is None or status < 500, (status, bytes(wire))
    assert gateway.send("GET", "/health", {}).status == 200
