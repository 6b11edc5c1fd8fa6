"""Health checks of containers: ready, and still well, by whatever way they are asked."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cnet.client import AgentClient
from cnet.errors import TransitionError
from tests.containers.working import agent_with, spec
from tests.support.agents import AgentProcess, wait_until
from tests.support.engine import IMAGE, Engine

SOON = {"interval": 0.2, "timeout": 10, "retries": 2}
SERVE = "httpd -f -p 80 -h /www"


@pytest.fixture(scope="module")
def shared_agent(
    tmp_path_factory: pytest.TempPathFactory, shared_engine: Engine
) -> Iterator[AgentProcess]:
    with agent_with(tmp_path_factory.mktemp("agent"), shared_engine) as running:
        yield running


@pytest.fixture
def client(shared_agent: AgentProcess, engine: Engine) -> Iterator[AgentClient]:
    """Of an agent for all tests; none may leave anything."""
    yield shared_agent.client
    for workload in shared_agent.client.list():
        shared_agent.client.delete(workload["id"])
    assert not any(shared_agent.client.resources()["used"].values())


def sicken(client: AgentClient, workload: dict[str, Any]) -> None:
    """What it is asked for is not there any more."""
    assert client.exec(workload["id"], ["sh", "-c", "rm /tmp/well"])["exit_code"] == 0


def is_taken_up(client: AgentClient, workload: dict[str, Any]) -> bool:
    """Whether a restarted agent has found it."""
    try:
        return bool(client.usage(workload["id"])["processes"])
    except TransitionError:
        return False


def checked(script: str, check: Any, **fields: Any) -> dict[str, Any]:
    """A container that runs a script, with a health check."""
    config = {"healthcheck": check, **fields.pop("config", {})}
    return spec("sh", "-c", script, config=config, stop_grace_s=0, **fields)


@pytest.mark.parametrize(
    "check",
    [
        {"test": "cat /tmp/well", **SOON},
        {"command": ["cat", "/tmp/well"], **SOON},
        {"test": ["CMD", "cat", "/tmp/well"], "interval": "1s", "timeout": "1m", "retries": 1},
        {"http": "/well", **SOON},
        {"http": "/well", "port": 80, **SOON},
    ],
)
def test_it_runs_once_it_is_well(client: AgentClient, check: dict[str, Any]) -> None:
    script = f"sleep 1; touch /tmp/well /www/well; {SERVE}"
    made = client.submit(checked(script, check, config={"ports": [80]}))
    assert made["status"] == "running", made
    assert client.exec(made["id"], ["ls", "/tmp/well"])["exit_code"] == 0
    found = httpx.get(f"{client.url}/services/c/well", timeout=30)
    assert (found.status_code, found.content) == (200, b"")


def test_a_port_that_answers(client: AgentClient) -> None:
    made = client.submit(checked(f"sleep 1; {SERVE}", {"tcp": 80, **SOON}))
    assert made["status"] == "running" and made["restart"]["policy"] == "on_failure", made
    silent = client.submit(
        checked("sleep 600", {"tcp": 80, "start_period": 2}, name="s", config={"ports": [80]})
    )
    assert (silent["status"], silent["status_reason"]) == ("failed", "not_ready"), silent


def test_one_that_is_never_ready_has_failed(client: AgentClient, engine: Engine) -> None:
    check = {"test": "echo so ill; exit 4", "start_period": 10}
    body = checked("echo begun; sleep 600", check, requirements={"cpu": 1})
    failed = client.submit(body)
    assert (failed["status"], failed["status_reason"]) == ("failed", "not_ready")
    assert "exits with 4: so ill" in failed["status_detail"], failed["status_detail"]
    assert failed["log_tail"] == ["begun"] and failed["restarts"] == 0
    assert engine.names() == set() and client.resources()["used"]["cpu"] == 0
    over = client.submit(checked("echo over", {"tcp": 80}, name="over"))
    assert (over["status"], over["status_reason"]) == ("failed", "exited"), over


def test_one_that_sickens_is_started_again(client: AgentClient) -> None:
    check = {"test": "test -e /tmp/well", **SOON}
    made = client.submit(checked("touch /tmp/well; sleep 600", check))
    sicken(client, made)
    again = client.wait_for(
        made["id"],
        until=lambda it: it["restarts"] == 1 and it["status"] == "running",
        timeout=120,
    )
    assert again["container_id"] != made["container_id"]
    never = client.submit(
        checked("touch /tmp/well; sleep 600", check, name="never", config={"restart_policy": "no"})
    )
    sicken(client, never)
    ended = client.wait_for(never["id"], timeout=120)
    assert (ended["status"], ended["status_reason"]) == ("failed", "unhealthy"), ended
    assert "2 probes failed in a row" in ended["status_detail"]


def test_it_is_no_service_before_it_is_ready(client: AgentClient) -> None:
    check = {"test": "test -e /tmp/well", **SOON}
    body = {**checked(SERVE, check, config={"ports": [80]}), "id": None}
    del body["id"]
    begun = client.submit(body, wait=False)
    waiting = client.wait_for(begun["id"], until=lambda it: bool(it.get("container_id")))
    assert waiting["status"] == "pending", waiting
    assert httpx.get(f"{client.url}/services/c/", timeout=30).status_code == 503
    ready = client.exec(begun["id"], ["touch", "/tmp/well"])
    assert ready["exit_code"] == 0
    client.wait_for(begun["id"], until="running", timeout=60)
    assert httpx.get(f"{client.url}/services/c/x", timeout=30).status_code == 404


@pytest.fixture
def image(engine: Engine) -> str:
    """One with a health check of its own."""
    return built(engine, f"FROM {IMAGE}\nHEALTHCHECK --interval=1s --retries=1 CMD cat /tmp/well\n")


def built(engine: Engine, dockerfile: str) -> str:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile)
        archive.addfile(entry, io.BytesIO(dockerfile.encode()))
    name = "cnet-test/checked:latest"
    transport = httpx.HTTPTransport(uds=str(engine.socket))
    with httpx.Client(transport=transport, base_url="http://engine", timeout=60) as client:
        said = client.post("/build", params={"t": name}, content=packed.getvalue()).text
    assert "Successfully built" in said, said
    return name


def test_the_check_of_an_image(client: AgentClient, image: str) -> None:
    config = {"image": image, "command": ["sh", "-c", "sleep 1; touch /tmp/well; sleep 600"]}
    made = client.submit({"name": "i", "type": "container", "config": config, "stop_grace_s": 0})
    assert made["status"] == "running", made
    sicken(client, made)
    ended = client.wait_for(made["id"], timeout=120)
    assert (ended["status"], ended["status_reason"]) == ("failed", "unhealthy"), ended
    ignored = {**config, "command": ["sleep", "600"], "healthcheck": "none"}
    made = client.submit({"name": "n", "type": "container", "config": ignored, "stop_grace_s": 0})
    assert made["status"] == "running", made


def test_it_is_watched_on_after_the_agents_death(
    shared_agent: AgentProcess, client: AgentClient
) -> None:
    check = {"test": "test -e /tmp/well", **SOON}
    made = client.submit(checked("touch /tmp/well; sleep 600", check))
    shared_agent.kill()
    shared_agent.restart()
    client = shared_agent.client
    wait_until(lambda: is_taken_up(client, made), timeout_s=60)
    found = client.get(made["id"])
    assert found["container_id"] == made["container_id"]
    sicken(client, made)
    client.wait_for(made["id"], until=lambda it: it["restarts"] == 1, timeout=120)
    wait_until(lambda: client.get(made["id"])["status"] == "running", timeout_s=60)
