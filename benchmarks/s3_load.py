"""Requests to S3 servers: signed beforehand, and sent with as little work here as can be.

`benchmarks.load` spends more on a request than nginx does; here one thread waits for all
connections at once, and looks at status and length of every reply only.
"""

from __future__ import annotations

import http.client
import itertools
import re
import select
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote, urlencode

from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from benchmarks.load import Timing, timing

STALLED_S = 60.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
_HEAD_BYTES = 64 * 1024
_BODY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Access:
    """How to ask a server: its port, and the access key if requests are to be signed."""

    port: int
    key: tuple[str, str] | None = None
    """id and secret"""

    def headers(self, method: str, target: str, body: bytes = b"") -> dict[str, str]:
        """Of a request, its signature among them; good for 15 minutes."""
        if self.key is None:
            return {}
        request = AWSRequest(method, f"http://127.0.0.1:{self.port}{target}", data=body)
        S3SigV4Auth(Credentials(*self.key), "s3", "us-east-1").add_auth(request)
        return dict(request.headers.items())

    def get(self, target: str) -> bytes:
        """A whole GET request."""
        fields = {"Host": f"127.0.0.1:{self.port}", **self.headers("GET", target)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode()


class Asking:
    """One request after the other over one connection; for few of them."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", access.port, timeout=STALLED_S, blocksize=_BODY_BYTES
        )

    def __call__(
        self, method: str, target: str, body: bytes = b"", *, expected: int = HTTPStatus.OK
    ) -> tuple[bytes, float]:
        """The body of the reply, and the seconds it took, without signing the request."""
        headers = self._access.headers(method, target, body)
        began = time.perf_counter()
        self._connection.request(method, target, body or None, headers)
        reply = self._connection.getresponse()
        content = reply.read()
        took = time.perf_counter() - began
        if reply.status != expected:
            raise RuntimeError(f"{method} {target} was answered {reply.status}: {content[:500]!r}")
        return content, took

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def target(bucket: str, key: str = "", query: Mapping[str, str] | None = None) -> str:
    """Path and query, encoded as signatures want it."""
    path = f"/{bucket}" + (f"/{quote(key)}" if key else "")
    return f"{path}?{urlencode(query, quote_via=quote, safe='-_.~')}" if query else path


@dataclass(frozen=True, slots=True)
class Load:
    """What a load saw, and what it cost this process."""

    timing: Timing
    count: int
    client_s: float
    """CPU seconds of this process"""


class _Fetch:
    """One connection with a request under way."""

    def __init__(self, port: int, size: int) -> None:
        self._port = port
        self._size = size
        self._head = b""
        self._left = -1  # the head is not complete
        self._closes = False
        self.began = 0.0
        self.socket = self._connect()

    def ask(self, request: bytes) -> bool:
        """Send the next request; True if it took a new connection."""
        self.began = time.perf_counter()
        self._head, self._left = b"", -1
        if renewed := self._closes:
            self.socket.close()
            self.socket = self._connect()
        self.socket.sendall(request)
        return renewed

    def receive(self, buffer: bytearray) -> bool:
        """Take what has come; True when the reply is complete."""
        if self._left < 0:
            piece = self.socket.recv(_HEAD_BYTES)
            count = len(piece)
            self._head += piece
            self._read_head()
        else:
            count = self.socket.recv_into(buffer)
            self._left -= count
        if count == 0:
            raise RuntimeError("the server closed the connection in the middle of a reply")
        return self._left == 0

    def _read_head(self) -> None:
        head, end, body = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        head += b"\r\n"
        length = _LENGTH.search(head)
        if head[9:12] != b"200" or length is None or int(length[1]) != self._size:
            raise RuntimeError(f"not a reply with {self._size} bytes: {self._head[:1000]!r}")
        self._closes = _CLOSES.search(head) is not None
        self._left = self._size - len(body)

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=STALLED_S)


def download(
    port: int, requests: Sequence[bytes], *, size: int, connections: int, seconds: float
) -> Load:
    """Send `requests` over and over; each must be answered with `size` bytes.

    What has begun when the time is over is still awaited, and counted.
    """
    upcoming = itertools.cycle(requests)
    buffer = bytearray(_BODY_BYTES)
    latencies: list[float] = []
    fetches: dict[int, _Fetch] = {}
    with select.epoll() as poll:
        processor, began = time.process_time(), time.perf_counter()
        for _ in range(connections):
            fetch = _Fetch(port, size)
            fetch.ask(next(upcoming))
            fetches[fetch.socket.fileno()] = fetch
            poll.register(fetch.socket, select.EPOLLIN)
        while fetches:
            ready = poll.poll(STALLED_S)
            if not ready:
                raise RuntimeError(f"no answer within {STALLED_S:g} s")
            for number, _ in ready:
                fetch = fetches[number]
                if not fetch.receive(buffer):
                    continue
                now = time.perf_counter()
                latencies.append(now - fetch.began)
                if now - began >= seconds:
                    fetches.pop(number).socket.close()
                elif fetch.ask(next(upcoming)):
                    del fetches[number]
                    fetches[fetch.socket.fileno()] = fetch
                    poll.register(fetch.socket, select.EPOLLIN)
        elapsed = time.perf_counter() - began
        processor = time.process_time() - processor
    return Load(timing(latencies, elapsed), len(latencies), processor)
