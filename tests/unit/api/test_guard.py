"""Who is let in: tables of Host and Origin, the token, and the size of bodies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anyio
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.api.guard import Guard
from cnet.errors import TooLargeError

TOKEN = "t" * 43
LIMIT = 1000
Headers = Iterable[tuple[str, str]]


class Recorder:
    """An application that says 204 to all it is asked, and remembers the bodies."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def _ask(
    headers: Headers,
    *,
    token: str | None = None,
    path: str = "/api/workloads",
    chunks: Iterable[bytes] = (b"",),
) -> tuple[int, dict[str, Any], Recorder]:
    """Status, error body and what got through."""
    app, sent = Recorder(), []
    guard = Guard(app, token=token, max_body_bytes=LIMIT)
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages[-1]["more_body"] = False
    waiting = iter(messages)

    async def receive() -> Any:
        return next(waiting)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in headers],
    }
    anyio.run(guard, scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], orjson.loads(body) if body else {}, app


@pytest.mark.parametrize(
    ("host", "let_in"),
    [
        ("localhost", True),
        ("localhost:8080", True),
        ("LocalHost:8080", True),
        ("127.0.0.1:8080", True),
        ("127.9.9.9", True),
        ("[::1]:8080", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("evil.example:localhost", False),
        ("0.0.0.0:8080", False),
        ("10.0.0.1", False),
        ("[::]", False),
        ("[::1", False),
        ("::1", False),
        ("127.1", False),
        ("", False),
        (" ", False),
        ("\xff", False),
    ],
)
def test_hosts_on_loopback(host: str, let_in: bool) -> None:
    status, body, app = _ask([("Host", host)])
    assert status == (204 if let_in else 403)
    assert bool(app.bodies) is let_in
    if not let_in:
        assert body["error"] == "forbidden" and "localhost" in body["details"]


def test_no_host_at_all() -> None:
    assert _ask([])[0] == 403


@pytest.mark.parametrize(
    ("origin", "let_in"),
    [
        ("http://localhost:8080", True),
        ("https://localhost:8080", True),
        ("http://LOCALHOST:8080", True),
        ("http://localhost", False),
        ("http://localhost:8081", False),
        ("http://127.0.0.1:8080", False),
        ("http://evil.example", False),
        ("http://localhost:8080.evil.example", False),
        ("http://evil.example#localhost:8080", False),
        ("ftp://localhost:8080", False),
        ("localhost:8080", False),
        ("null", False),
        ("", False),
        ("http://[", False),
    ],
)
@pytest.mark.parametrize("token", [None, TOKEN])
def test_origins(origin: str, let_in: bool, token: str | None) -> None:
    """The token does not help a page of another site."""
    headers = [
        ("Host", "localhost:8080"),
        ("Origin", origin),
        ("Authorization", f"Bearer {TOKEN}"),
    ]
    status, body, app = _ask(headers, token=token)
    assert status == (204 if let_in else 403)
    assert bool(app.bodies) is let_in
    assert let_in or "Origin" in body["details"]


LATIN = st.text(st.characters(max_codepoint=255), max_size=60)


@given(host=LATIN, origin=LATIN)
def test_any_origin_with_any_host(host: str, origin: str) -> None:
    """No pair of texts is an error of the guard; only the very same place gets through."""
    status, _, app = _ask([("Host", host), ("Origin", origin)])
    assert status == 403 and not app.bodies


@given(host=LATIN)
def test_any_host(host: str) -> None:
    status, _, _ = _ask([("Host", host)])
    assert status in {204, 403}
    if status == 204:
        assert "localhost" in host.lower() or "127." in host or "::1" in host


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 204),
        (f"bearer {TOKEN}", 204),
        (f"Bearer  {TOKEN} ", 204),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        ("Bearer", 401),
        ("Bearer \xff", 401),
        ("", 401),
    ],
)
def test_the_token(authorization: str, status: int) -> None:
    headers = [("Host", "anything.example"), ("Authorization", authorization)]
    found, body, app = _ask(headers, token=TOKEN)
    assert found == status
    assert bool(app.bodies) is (status == 204)
    assert TOKEN not in str(body)


@given(given_token=LATIN)
def test_no_other_token(given_token: str) -> None:
    headers = [("Host", "x"), ("Authorization", f"Bearer {given_token}")]
    assert _ask(headers, token=TOKEN)[0] == 401


@pytest.mark.parametrize("path", ["/api/health", "/api/health/", "//api/health", "/API/health"])
def test_only_the_very_path_of_health_is_open(path: str) -> None:
    assert _ask([("Host", "x")], token=TOKEN, path=path)[0] == (
        204 if path == "/api/health" else 401
    )


@pytest.mark.parametrize("length", [str(LIMIT), str(LIMIT + 1), "9" * 40, "-1", "x", "\xb2"])
def test_announced_lengths(length: str) -> None:
    """A digit of another script is no number either, and must not be an error."""
    status, body, app = _ask([("Host", "localhost"), ("Content-Length", length)])
    too_large = length.isascii() and length.isdigit() and int(length) > LIMIT
    assert status == (413 if too_large else 204)
    assert bool(app.bodies) is not too_large
    assert not too_large or body["error"] == "too_large"


def test_unannounced_lengths_are_counted() -> None:
    chunks = [b"x" * 400] * 3
    with pytest.raises(TooLargeError, match="1000"):
        _ask([("Host", "localhost")], chunks=chunks)
    _, _, app = _ask([("Host", "localhost")], chunks=[b"x" * 500] * 2)
    assert app.bodies == [b"x" * LIMIT]


def test_a_connection_that_was_closed_under_an_answer() -> None:
    """uvloop's complaint is dropped, as is all that follows; another error is not."""
    for message, raised in (("the handler is closed", False), ("out of order", True)):
        calls: list[int] = []

        async def send(_: Any, text: str = message, seen: list[int] = calls) -> None:
            seen.append(1)
            raise RuntimeError(text)

        async def receive() -> Any:
            return {"type": "http.request"}

        scope = {"type": "http", "path": "/", "headers": [(b"host", b"localhost")]}
        guard = Guard(Recorder(), token=None, max_body_bytes=LIMIT)
        if raised:
            with pytest.raises(RuntimeError, match=message):
                anyio.run(guard, scope, receive, send)
        else:
            anyio.run(guard, scope, receive, send)
            assert len(calls) == 1


def test_bodies_for_services_have_a_bound_of_their_own() -> None:
    chunks = [b"x" * LIMIT] * 3
    app = Recorder()
    for path, let_in in (("/services/x/predict", True), ("/services", False), ("/api/x", False)):
        for headers in ({}, {"Content-Length": str(3 * LIMIT)}):
            guard = Guard(app, token=None, max_body_bytes=LIMIT, max_streamed_bytes=3 * LIMIT)
            if let_in or headers:
                status = _through(guard, path, headers, chunks)
                assert status == (204 if let_in else 413), path
            else:
                with pytest.raises(TooLargeError, match=r"agent\.max_body_bytes"):
                    _through(guard, path, headers, chunks)
    guard = Guard(app, token=None, max_body_bytes=LIMIT, max_streamed_bytes=3 * LIMIT)
    with pytest.raises(TooLargeError, match="service"):
        _through(guard, "/services/x/predict", {}, [*chunks, b"x"])


def _through(guard: Guard, path: str, headers: dict[str, str], chunks: list[bytes]) -> int:
    sent: list[Any] = []
    waiting = iter(chunks)
    left = len(chunks)

    async def receive() -> Any:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": next(waiting), "more_body": left > 0}

    async def send(message: Any) -> None:
        sent.append(message)

    fields = {"host": "localhost", **headers}
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(n.lower().encode(), v.encode()) for n, v in fields.items()],
    }
    anyio.run(guard, scope, receive, send)
    status: int = sent[0]["status"]
    return status


@pytest.mark.parametrize(
    ("token", "headers", "status"),
    [
        (None, {"host": "localhost:8080"}, None),
        (None, {"host": "evil.example"}, 403),
        (None, {"host": "localhost:8080", "origin": "http://localhost:8080"}, None),
        (None, {"host": "localhost:8080", "origin": "http://evil.example"}, 403),
        (TOKEN, {"host": "far.example", "authorization": f"Bearer {TOKEN}"}, None),
        (TOKEN, {"host": "far.example"}, 401),
        (TOKEN, {"host": "far.example", "authorization": "Bearer other"}, 401),
        (
            TOKEN,
            {"host": "x", "authorization": f"Bearer {TOKEN}", "origin": "http://evil.example"},
            403,
        ),
    ],
)
@pytest.mark.parametrize("says_why", [True, False])
def test_websockets_are_refused_before_they_are_accepted(
    token: str | None, headers: dict[str, str], status: int | None, says_why: bool
) -> None:
    """By an HTTP answer where the server can give one, else by a close, which becomes a 403."""
    accepted, sent = [], []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        accepted.append(scope["path"])

    async def receive() -> Any:
        raise AssertionError("nothing is read of who is refused")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": "/api/link",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "extensions": {"websocket.http.response": {}} if says_why else None,
    }
    anyio.run(Guard(app, token=token, max_body_bytes=LIMIT), scope, receive, send)
    assert bool(accepted) is (status is None)
    if status is None:
        assert not sent
    elif says_why:
        assert [message["type"] for message in sent] == [
            "websocket.http.response.start",
            "websocket.http.response.body",
        ]
        assert sent[0]["status"] == status
    else:
        assert sent == [{"type": "websocket.close", "code": 1008}]


def test_what_is_not_http_is_handed_on() -> None:
    seen: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any:
        raise AssertionError("nobody reads or writes here")

    guard = Guard(app, token=TOKEN, max_body_bytes=LIMIT)
    anyio.run(guard, {"type": "lifespan"}, nothing, nothing)
    assert seen == ["lifespan"]
