"""One connection, many requests: the order of the replies, and when it ends."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.gateway.gateways import Gateway

SMALL, LARGE = b"small " * 100, bytes(range(256)) * 2000
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n")


@pytest.fixture(scope="module")
def stored(gateway: Gateway) -> None:
    """A small file, one that is sent by sendfile, and one that was put in parts."""
    gateway.put("/cnet/small", SMALL)
    gateway.put("/cnet/large", LARGE)
    client = gateway.client()
    upload = client.create_multipart_upload(Bucket="cnet", Key="parts")["UploadId"]
    asked = {"Bucket": "cnet", "Key": "parts", "UploadId": upload}
    etag = client.upload_part(**asked, PartNumber=1, Body=SMALL)["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    client.complete_multipart_upload(**asked, MultipartUpload=parts)


def request(gateway: Gateway, method: str, target: str, version: str = "1.1", **more: str) -> bytes:
    """A signed request; `more` are headers."""
    target, headers = gateway.sign(method, target)
    fields = {**headers, **more}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {target} HTTP/{version}\r\n{lines}\r\n".encode()


class Connection:
    """Reads one reply after the other."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._data = b""

    def reply(self, *, head_only: bool = False) -> tuple[bytes, bytes]:
        """Head and body."""
        while b"\r\n\r\n" not in self._data:
            self._more()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        found = _LENGTH.search(head + b"\r\n")
        size = 0 if head_only or found is None else int(found[1])
        while len(self._data) < size:
            self._more()
        body, self._data = self._data[:size], self._data[size:]
        return head, body

    def ended(self) -> bool:
        """Whether there is nothing more to come; waits for it."""
        return not self._data and not self.socket.recv(1)

    def _more(self) -> None:
        piece = self.socket.recv(1 << 20)
        assert piece, f"ended after {self._data!r}"
        self._data += piece


@contextmanager
def connected(gateway: Gateway) -> Iterator[Connection]:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as sock:
        yield Connection(sock)


def test_replies_come_in_the_order_of_the_requests(gateway: Gateway, stored: None) -> None:
    """Those that wait for a thread and those that do not, sent without waiting for replies."""
    kinds = [
        ("GET", "/cnet/small", SMALL),
        ("GET", "/cnet?list-type=2&prefix=small", b"<Key>small</Key>"),
        ("GET", "/cnet/small", SMALL),
        ("HEAD", "/cnet/large", None),
        ("GET", "/cnet/parts", SMALL),
        ("GET", "/cnet/large", LARGE),
        ("HEAD", "/cnet/small", None),
        ("GET", "/cnet/not-there", b"<Code>NoSuchKey</Code>"),
        ("GET", "/no-such-bucket", b"<Code>NoSuchBucket</Code>"),
        ("GET", "/cnet/small", SMALL),
    ] * 5
    with connected(gateway) as connection:
        connection.socket.sendall(
            b"".join(request(gateway, method, target) for method, target, _ in kinds)
        )
        for method, target, wanted in kinds:
            head, body = connection.reply(head_only=method == "HEAD")
            if wanted is None:
                assert (head[:12], body) == (b"HTTP/1.1 200", b""), target
            else:
                assert wanted in body, target
                assert b"<" in wanted[:1] or body == wanted, target


def test_a_request_in_pieces(gateway: Gateway, stored: None) -> None:
    whole = request(gateway, "GET", "/cnet/small")
    with connected(gateway) as connection:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(3):
            for start in range(0, len(whole), 37):
                connection.socket.sendall(whole[start : start + 37])
            assert connection.reply()[1] == SMALL


@pytest.mark.parametrize("target", ["/cnet/small", "/cnet/large", "/cnet?list-type=2", "/cnet/no"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("version", "more"), [("1.1", {"Connection": "close"}), ("1.0", {}), ("1.1", {})]
)
def test_connection_ends_when_it_is_asked_to(
    gateway: Gateway, stored: None, method: str, target: str, version: str, more: dict[str, str]
) -> None:
    method = "GET" if "?" in target else method
    closes = bool(more) or version == "1.0"
    with connected(gateway) as connection:
        connection.socket.sendall(request(gateway, method, target, version, **more))
        head, _ = connection.reply(head_only=method == "HEAD")
        assert (b"\r\nconnection: close" in head) == closes
        if closes:
            assert connection.ended()
        else:
            connection.socket.sendall(request(gateway, "GET", "/cnet/small"))
            assert connection.reply()[1] == SMALL


def test_get_with_an_empty_body(gateway: Gateway, stored: None) -> None:
    with connected(gateway) as connection:
        for more in ({"Content-Length": "0"}, {"Transfer-Encoding": "chunked"}, {}):
            asked = request(gateway, "GET", "/cnet/small", **more)
            end = b"0\r\n\r\n" if "Transfer-Encoding" in more else b""
            connection.socket.sendall(asked + end)
            assert connection.reply()[1] == SMALL


def test_client_that_reads_nothing_is_not_answered_for_ever(gateway: Gateway, stored: None) -> None:
    """Replies that nobody takes are not gathered in memory."""
    process = psutil.Process(gateway.process.pid)
    asked = request(gateway, "GET", "/cnet/small")
    with connected(gateway) as connection:
        connection.socket.sendall(asked)
        connection.reply()
        before = process.memory_info().rss
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.socket.settimeout(1.0)
        sent = 0
        try:
            while sent < 200_000:
                connection.socket.sendall(asked)
                sent += 1
        except TimeoutError:  # it stopped reading, as it should
            pass
        assert sent < 200_000
        assert gateway.ask("GET", "/cnet/small").body == SMALL
        assert process.memory_info().rss - before < 64 << 20


def test_bad_request_behind_a_good_one(gateway: Gateway, stored: None) -> None:
    with connected(gateway) as connection:
        connection.socket.sendall(request(gateway, "GET", "/cnet/small") + b"nonsense\r\n\r\n")
        assert connection.reply()[1] == SMALL
        head, _ = connection.reply()
        assert head.startswith(b"HTTP/1.1 400")
        assert connection.ended()
