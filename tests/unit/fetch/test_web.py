"""A URL is judged by the address that is connected to, at every step."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cnet.errors import CnetError, ForbiddenError, SpecError, TooLargeError, TransientError
from cnet.storage.fetch import web
from cnet.storage.fetch.addresses import is_public

pytestmark = pytest.mark.anyio


class _Handler(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(f"{self.headers['Host']}{self.path}")
        where = {"/to-inside": "http://inside.test/secret", "/down": "ftp://x/y", "/bare": ""}
        self.send_response(302 if self.path in where else 200)
        if self.path in where:
            self.send_header("Location", where[self.path])
        if self.path == "/zipped":
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"body")

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    class Handler(_Handler):
        asked: list[str] = []  # noqa: RUF012 - one per server

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


async def _loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


async def _get(url: str, *, allow: bool, resolve: web.Resolve, most: int = 100) -> bytes:
    async with web.opened(url, allow_private=allow, max_bytes=most, resolve=resolve) as answer:
        return b"".join([chunk async for chunk in answer.body])


@pytest.mark.parametrize(
    "host", ["public.test", "127.1", "0x7f000001", "2130706433", "localhost", "127.0.0.1"]
)
async def test_a_name_that_leads_inside(server: ThreadingHTTPServer, host: str) -> None:
    url = f"http://{host}:{server.server_port}/"
    with pytest.raises(ForbiddenError) as caught:
        await _get(url, allow=False, resolve=_loopback)
    assert caught.value.code == "private_address"
    assert server.RequestHandlerClass.asked == []  # type: ignore[attr-defined]
    assert await _get(url, allow=True, resolve=_loopback) == b"body"


async def test_the_real_resolver_leads_numbers_inside_too(server: ThreadingHTTPServer) -> None:
    for host in ("127.1", "0x7f000001", "2130706433", "[::ffff:127.0.0.1]", "localhost"):
        url = f"http://{host}:{server.server_port}/"
        with pytest.raises(CnetError):
            await _get(url, allow=False, resolve=web._resolve)
    assert server.RequestHandlerClass.asked == []  # type: ignore[attr-defined]


async def test_a_redirect_is_judged_again(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first host is let through as if it were public; where it leads is not."""
    judged: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        judged.append(host)
        return ["127.0.0.1"] if host == "outside.test" else ["10.1.2.3", "169.254.169.254"]

    def is_public_but_here(address: str) -> bool:
        return address == "127.0.0.1" or is_public(address)

    monkeypatch.setattr(web, "is_public", is_public_but_here)
    url = f"http://outside.test:{server.server_port}/to-inside"
    with pytest.raises(ForbiddenError) as caught:
        await _get(url, allow=False, resolve=resolve)
    assert judged == ["outside.test", "inside.test"]
    assert "10.1.2.3" in caught.value.message


@pytest.mark.parametrize(
    ("path", "kind", "code"),
    [
        ("/down", SpecError, "invalid_field"),
        ("/bare", SpecError, "source_refused"),
        ("/zipped", SpecError, "source_refused"),
    ],
)
async def test_answers_that_are_not_taken(
    server: ThreadingHTTPServer, path: str, kind: type[CnetError], code: str
) -> None:
    with pytest.raises(kind) as caught:
        await _get(f"http://h:{server.server_port}{path}", allow=True, resolve=_loopback)
    assert caught.value.code == code


async def test_more_than_may_come(server: ThreadingHTTPServer) -> None:
    with pytest.raises(TooLargeError):
        await _get(f"http://h:{server.server_port}/", allow=True, resolve=_loopback, most=3)


async def test_nobody_there(server: ThreadingHTTPServer) -> None:
    async def nowhere(host: str, port: int) -> list[str]:
        return []

    with pytest.raises(TransientError) as caught:
        await _get("http://nobody.test/", allow=False, resolve=nowhere)
    assert caught.value.code == "source_unreachable"


@pytest.mark.parametrize(
    "url", ["ftp://a/", "http://", "http:///x", "http://u@h/", "x", "http://h:x/"]
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(SpecError):
        web.require_http(url)
