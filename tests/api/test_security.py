"""The floor: the submit route runs commands, so nothing speaks to an agent unasked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.node import Node, process_spec, refused
from tests.support.agents import AgentProcess, alive, start_agent

ROUTES = (
    ("GET", "/api/workloads"),
    ("POST", "/api/workloads"),
    ("GET", "/api/workloads/x/logs"),
    ("POST", "/api/workloads/x/stop"),
    ("DELETE", "/api/workloads/x"),
    ("GET", "/api/resources"),
    ("GET", "/api/nodes"),
    ("GET", "/api/events"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/no/such/route"),
)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.1.10:8080",
        "0.0.0.0",
        "[::2]:8080",
        "",
        "[::1",
    ],
)
@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("GET", "/api/health")])
def test_a_name_that_is_not_ours_is_refused(node: Node, host: str, method: str, path: str) -> None:
    """DNS rebinding: the browser believes it speaks to evil.example."""
    reply = node.http.request(method, path, headers={"Host": host}, json=process_spec("true"))
    refused(reply, 403, "forbidden", says="Host")
    assert node.json(node.http.get("/api/workloads"))["count"] == 0


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.2", "[::1]:80"])
def test_loopback_names_are_answered(node: Node, host: str) -> None:
    assert node.http.get("/api/workloads", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://evil.example",
        "null",
        "",
        "http://localhost",
        "http://localhost:1",
        "http://127.0.0.1:1",
        "file://",
        "chrome-extension://{host}",
        "http://{host}.evil.example",
        "http://user@{host}",
    ],
)
@pytest.mark.parametrize(("method", "path"), ROUTES[:3])
def test_pages_of_other_sites_are_refused(node: Node, origin: str, method: str, path: str) -> None:
    host = node.http.base_url.netloc.decode()
    headers = {"Origin": origin.format(host=host)}
    reply = node.http.request(method, path, headers=headers, json=process_spec("true"))
    refused(reply, 403, "forbidden", says="Origin")
    assert node.json(node.http.get("/api/workloads"))["count"] == 0


def test_the_agents_own_page_is_answered(node: Node) -> None:
    headers = {"Origin": f"http://{node.http.base_url.netloc.decode()}"}
    reply = node.http.post("/api/workloads", json=process_spec("true"), headers=headers)
    assert reply.status_code == 201


def test_a_form_of_another_site_is_no_submit(node: Node) -> None:
    """What a page may send without asking first (a form, text/plain) is not taken."""
    content = b'{"name": "x", "type": "process", "config": {"command": "true"}}'
    reply = node.http.post(
        "/api/workloads", content=content, headers={"Content-Type": "text/plain"}
    )
    refused(reply, 415, "unsupported_media_type")


def test_answers_may_not_be_read_by_other_sites(node: Node) -> None:
    reply = node.http.get("/api/workloads")
    assert not [name for name in reply.headers if name.startswith("access-control-")]


# --- beyond loopback -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder in which `cnet init` has been run."""
    home = tmp_path_factory.mktemp("home")
    done = _cnet(home, "init")
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture(scope="module")
def token(home: Path) -> str:
    """What `cnet init` made, as 0600."""
    path = home / "cnet" / "token"
    assert path.stat().st_mode & 0o777 == 0o600
    return path.read_text().strip()


@pytest.fixture(scope="module")
def open_agent(
    home: Path, token: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AgentProcess]:
    """An agent that every machine can reach."""
    agent = start_agent(
        tmp_path_factory.mktemp("open"),
        environ={"XDG_CONFIG_HOME": str(home)},
        token=token,
        agent={"address": "0.0.0.0"},
        resources={"cpu": 2},
    )
    agent.url = agent.url.replace("0.0.0.0", "127.0.0.1")
    yield agent
    agent.stop()


@pytest.fixture
def outside(open_agent: AgentProcess) -> Iterator[httpx.Client]:
    """Somebody without a token."""
    with httpx.Client(base_url=open_agent.url, trust_env=False, timeout=20) as client:
        yield client


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "127.0.0.1.nip.invalid"])
def test_no_start_beyond_loopback_without_a_token(tmp_path: Path, address: str) -> None:
    data_dir = tmp_path / "data"
    done = _cnet(
        tmp_path, "agent", "--address", address, "--port", "0", "--data-dir", str(data_dir)
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: agent.address: ")
    assert "`cnet init`" in done.stderr and address in done.stderr
    assert done.stderr.count("\n") == 1 and done.stdout == ""


def test_no_start_with_a_token_that_others_can_read(tmp_path: Path) -> None:
    assert _cnet(tmp_path, "init").returncode == 0
    path = tmp_path / "cnet" / "token"
    path.chmod(0o640)
    done = _cnet(tmp_path, "agent", "--address", "0.0.0.0", "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 2
    assert "agent.auth.token_file" in done.stderr and "chmod 600" in done.stderr
    assert path.read_text().strip() not in done.stderr


def test_no_start_with_a_token_that_can_be_guessed(tmp_path: Path) -> None:
    path = tmp_path / "cnet" / "token"
    path.parent.mkdir()
    path.write_text("secret\n")
    path.chmod(0o600)
    done = _cnet(tmp_path, "agent", "--address", "0.0.0.0", "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 2
    assert "shorter than 16" in done.stderr


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", "Basic {token}", "{token}", "Bearer {token}x"],
)
def test_without_the_token_nothing_is_answered(
    outside: httpx.Client, token: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.format(token=token)}
    for method, path in ROUTES:
        reply = outside.request(method, path, headers=headers, json=process_spec("true"))
        body = refused(reply, 401, "unauthorized", says="cnet init")
        assert reply.headers["www-authenticate"] == "Bearer"
        assert token not in str(body)


def test_with_the_token_everything_works(open_agent: AgentProcess, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    with Node(open_agent) as node:
        node.http.headers.update(headers)
        body = node.process("sleep", "60")
        assert alive(body["pid"])
        with node.events(workload=body["id"]) as events:
            node.stop(body["id"])
            assert next(events)["data"]["workload_id"] == body["id"]
        node.http.headers["Host"] = "some.name.of.this.machine"
        assert node.http.get("/docs").status_code == 200
        node.delete_all()


def test_the_token_does_not_help_a_foreign_page(outside: httpx.Client, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Origin": "http://evil.example"}
    reply = outside.post("/api/workloads", json=process_spec("true"), headers=headers)
    refused(reply, 403, "forbidden", says="Origin")


def test_health_is_open_to_monitors(outside: httpx.Client) -> None:
    reply = outside.get("/api/health")
    assert (reply.status_code, reply.json()["status"]) == (200, "healthy")


def test_the_token_stays_where_it_is(open_agent: AgentProcess, token: str) -> None:
    """Neither in the log, nor in an argument list, nor handed to workloads, nor in the state."""
    body = open_agent.client.submit(process_spec("sh", "-c", "env; exec sleep 60"))
    open_agent.client.submit(process_spec("no-such-program"))
    environ = Path(f"/proc/{body['pid']}/environ").read_bytes()
    assert token.encode() not in environ
    for process in open_agent.processes():
        assert token not in " ".join(process.cmdline())
    assert token not in open_agent.log()
    for file in open_agent.data_dir.rglob("*"):
        if file.is_file():
            assert token.encode() not in file.read_bytes(), file
    open_agent.client.delete(body["id"])


def test_other_loopback_addresses_need_no_token(tmp_path: Path) -> None:
    agent = start_agent(tmp_path, agent={"address": "127.0.0.2"}, resources={"cpu": 1})
    assert agent.url.startswith("http://127.0.0.2:")
    assert agent.client.submit(process_spec("sleep", "60"))["status"] == "running"
    agent.stop()


def _cnet(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CNET_")}
    return subprocess.run(
        [sys.executable, "-m", "cnet", *arguments],
        env=environ | {"XDG_CONFIG_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
