"""What passes from a client to a service and back, as tables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.api.services.headers import answer_start, carried_headers, request_head
from cnet.errors import MalformedError


def scope(*headers: tuple[bytes, bytes], method: str = "GET", **more: Any) -> dict[str, Any]:
    return {"method": method, "headers": list(headers), "client": ("10.1.1.1", 7), **more}


def head(one: dict[str, Any], *, length: int | None = 0, target: bytes = b"/") -> list[bytes]:
    text = request_head(one, target, b"localhost:9001", prefix=b"/services/x", length=length)
    assert text.endswith(b"\r\n\r\n")
    return text[:-4].split(b"\r\n")


def test_a_whole_head() -> None:
    asked = scope((b"host", b"agent:8080"), (b"accept", b"*/*"), scheme="https")
    assert head(asked, target=b"/a?b") == [
        b"GET /a?b HTTP/1.1",
        b"host: localhost:9001",
        b"accept: */*",
        b"x-forwarded-for: 10.1.1.1",
        b"x-forwarded-host: agent:8080",
        b"x-forwarded-proto: https",
        b"x-forwarded-prefix: /services/x",
        b"via: 1.1 cnet",
    ]


@pytest.mark.parametrize(
    ("method", "length", "framing"),
    [
        ("GET", 0, None),
        ("DELETE", 0, None),
        ("POST", 0, b"content-length: 0"),
        ("PUT", 0, b"content-length: 0"),
        ("GET", 3, b"content-length: 3"),
        ("POST", None, b"transfer-encoding: chunked"),
    ],
)
def test_the_framing_is_our_own(method: str, length: int | None, framing: bytes | None) -> None:
    """Whatever the client said, and however it said it."""
    lies = [
        (b"content-length", b"99"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"content-length"),
    ]
    lines = head(scope(*lies, method=method), length=length)
    found = [line for line in lines if line.startswith((b"content-len", b"transfer-enc"))]
    assert found == ([] if framing is None else [framing])


def test_a_client_cannot_have_our_fields_removed() -> None:
    named = b"close, X-Forwarded-For, host, via, x-own"
    lines = head(scope((b"connection", named), (b"x-own", b"1"), (b"host", b"h")))
    assert b"x-forwarded-for: 10.1.1.1" in lines and b"host: localhost:9001" in lines
    assert b"via: 1.1 cnet" in lines and b"x-own: 1" not in lines


def test_what_was_carried_keeps_what_the_first_agent_said() -> None:
    first = scope(
        (b"host", b"first:8080"),
        (b"authorization", b"Bearer t"),
        (b"connection", b"keep-alive"),
        (b"content-length", b"5"),
        (b"x-forwarded-for", b"spoofed"),
    )
    carried = carried_headers(first, b"/services/x")
    names = [name for name, _ in carried]
    assert b"authorization" not in names and b"connection" not in names
    assert (b"content-length", b"5") in carried and (b"x-cnet-carried", b"1") in carried
    second = {"method": "GET", "headers": carried, "client": ("over the link", 0)}
    lines = head(second, length=5)
    assert b"x-forwarded-for: spoofed, 10.1.1.1" in lines
    assert b"x-forwarded-host: first:8080" in lines
    assert not any(line.startswith(b"x-cnet-carried") for line in lines)


def test_nobody_is_known_by_no_address() -> None:
    lines = head(scope(client=None))
    assert not any(line.startswith(b"x-forwarded-for") for line in lines)


BYTES = st.binary(max_size=40)


@given(name=BYTES, value=BYTES, target=BYTES)
def test_no_bytes_make_two_requests_of_one(name: bytes, value: bytes, target: bytes) -> None:
    """Fields of another agent come over a link, not through an HTTP parser."""
    try:
        lines = head(scope((name, value)), target=b"/" + target)
    except MalformedError:
        assert any(byte in name + value + target for byte in b"\r\n ")
        return
    assert lines[0] == b"GET /" + target + b" HTTP/1.1"
    assert all(b"\r" not in line and b"\n" not in line for line in lines)


@pytest.mark.parametrize("status", [200, 204, 304])
def test_an_answer(status: int) -> None:
    fields = [(b"content-length", b"7"), (b"date", b"then"), (b"etag", b"e"), (b"upgrade", b"h2c")]
    start = answer_start(status, fields)
    names = [name for name, _ in start["headers"]]
    assert names == [
        *([b"content-length"] if status == 200 else []),
        b"etag",
        b"content-security-policy",
    ]
