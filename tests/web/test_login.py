"""Beyond loopback: the login page, its cookie, and pages of others that try to use it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from tests.support.agents import AgentProcess, start_agent
from tests.web.browser import Watched

Visit = Callable[..., Watched]
TOKEN = "a-token-of-the-tests-0123456789"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    folder = tmp_path_factory.mktemp("guarded")
    token_file = folder / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    agent = start_agent(
        folder,
        token=TOKEN,
        agent={"node_id": "guarded", "address": "0.0.0.0", "auth": {"token_file": str(token_file)}},
    )
    agent.url = agent.url.replace("0.0.0.0", "127.0.0.1")
    yield agent
    agent.stop()


def log_in(page: Watched, token: str = TOKEN) -> None:
    page.page.get_by_label("Token").fill(token)
    page.page.get_by_role("button", name="Log in").click()


def test_the_token_opens_the_pages(guarded: AgentProcess, visit: Visit) -> None:
    shown = visit(f"{guarded.url}/docs?x=1")
    assert "/login?next=" in shown.page.url
    shown.accessible()
    shown.expected.append("401")
    log_in(shown, "not-the-token-of-it")
    shown.page.get_by_text("This is not the token").wait_for()
    log_in(shown)
    shown.page.wait_for_url("**/docs?x=1")
    (cookie,) = [each for each in shown.context.cookies() if "session" in each["name"]]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert TOKEN not in cookie["value"]
    shown.page.get_by_role("link", name="Overview").click()
    shown.until_live()
    shown.page.get_by_role("button", name="Log out").click()
    shown.page.get_by_label("Token").wait_for()
    shown.page.goto(guarded.url)
    assert "/login" in shown.page.url


def test_whoever_has_no_session_sees_nothing(guarded: AgentProcess) -> None:
    for path in ("/", "/live", "/docs", "/api/nodes"):
        assert httpx.get(guarded.url + path).status_code == 401
    page = httpx.get(guarded.url, headers={"accept": "text/html"})
    assert page.status_code == 303
    assert page.headers["location"].startswith("/login?next=")


def test_a_session_changes_nothing_without_an_origin(guarded: AgentProcess) -> None:
    session = httpx.post(f"{guarded.url}/login", data={"token": TOKEN}).cookies
    cookie = "; ".join(f"{name}={value}" for name, value in session.items())
    body = {"name": "x", "type": "process", "config": {"command": "true"}}
    url = f"{guarded.url}/api/workloads"
    assert httpx.get(url, headers={"cookie": cookie}).status_code == 200
    refused = httpx.post(url, json=body, headers={"cookie": cookie})
    assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    headers = {"cookie": cookie, "origin": guarded.url}
    made = httpx.post(url, json=body, headers=headers)
    assert made.status_code == 201


@pytest.fixture
def elsewhere(guarded: AgentProcess) -> Iterator[str]:
    """A page of another origin with a form that submits to the agent, same site or not."""
    agent_url = guarded.url

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/favicon.ico":
                self.send_error(404)
                return
            body = (
                f'<form method="post" action="{agent_url}/preferences">'
                '<input name="theme" value="dark"><button>Win a prize</button></form>'
            ).encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_form_of_another_origin_does_not_work(
    guarded: AgentProcess, visit: Visit, elsewhere: str, tmp_path: Path
) -> None:
    shown = visit(f"{guarded.url}/login")
    log_in(shown)
    shown.page.wait_for_url(f"{guarded.url}/")
    shown.expected += ["another host", "403", "404"]
    shown.page.goto(elsewhere)  # another port of this machine: the same site, another origin
    with shown.page.expect_response(f"{guarded.url}/preferences") as asked:
        shown.page.get_by_role("button", name="Win a prize").click()
    assert asked.value.status == 403
    assert not any("theme" in each["name"] for each in shown.context.cookies())
