"""The kind `datagateway`: started by the agent, it serves what data workloads have stored."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest

from tests.api import seed_data
from tests.api.curl import replay
from tests.api.node import Json, Node
from tests.support.agents import AgentProcess, start_agent

GIB = 1024**3
TOKEN = "a-token-of-the-test"


@pytest.fixture(scope="module")
def shared_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    agent = start_agent(
        tmp_path_factory.mktemp("agent"),
        resources={"cpu": 4, "gpu": 0, "memory": 8 * GIB, "storage": 1 * GIB},
    )
    yield agent
    agent.stop()


@pytest.fixture
def web() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=30) as client:
        yield client


def gateway(node: Node, **config: object) -> Json:
    """Start one that must become ready; the workload."""
    workload = node.submit({"name": "gw", "type": "datagateway", "config": config})
    assert workload["status"] == "running", workload
    return workload


def upload(node: Node, key: str, data: bytes, mode: str = "readonly") -> None:
    reply = node.http.post(
        "/api/workloads",
        data={"config": json.dumps({"data_key": key, "access_mode": mode})},
        files={"file": ("f.txt", data)},
    )
    assert reply.status_code == 201, reply.text


def keys_in(reply: httpx.Response) -> list[str]:
    """The keys of a listing."""
    assert reply.status_code == 200, reply.text
    root = ElementTree.fromstring(reply.content)  # of our own gateway
    return [node.text or "" for node in root.iter() if node.tag.rpartition("}")[2] == "Key"]


def test_the_documents_gateway(node: Node, web: httpx.Client) -> None:
    upload(node, "k", b"gateway test\n")
    command = seed_data.GATEWAY.strip()
    command = command.replace("9091", "0").replace('"base_path": "/tmp/cnet_data",', "")
    answer = replay(command, agent=node.agent.url, folder=node.agent.folder)
    assert answer.status == 201
    workload = answer.body
    assert (workload["status"], workload["bucket"]) == ("running", "cnet")
    endpoint = workload["endpoint"]
    assert endpoint == f"http://127.0.0.1:{workload['service_port']}"
    assert web.get(f"{endpoint}/health").text.strip() == "ok"
    listing = web.get(f"{endpoint}/s3/cnet", params={"list-type": "2", "prefix": "k"})
    assert keys_in(listing) == ["k/f.txt"]
    reply = web.get(f"{endpoint}/s3/cnet/k/f.txt")
    assert (reply.status_code, reply.content) == (200, b"gateway test\n")
    assert web.put(f"{endpoint}/s3/cnet/k/f.txt", content=b"x").status_code == 403


def test_access_modes_hold_for_gateways(node: Node, web: httpx.Client) -> None:
    for mode in ("readonly", "readwrite", "exclusive"):
        upload(node, mode, b"before", mode)
    endpoint = gateway(node, read_only=False)["endpoint"]
    listing = web.get(f"{endpoint}/cnet", params={"list-type": "2"})
    assert keys_in(listing) == ["readonly/f.txt", "readwrite/f.txt"]
    assert web.get(f"{endpoint}/cnet/exclusive/f.txt").status_code == 404
    for hidden in (".exclusive", ".staging"):
        assert web.get(f"{endpoint}/{hidden}/exclusive/f.txt").status_code >= 400
    for path in ("readonly/f.txt", "readonly/new.txt"):
        assert web.put(f"{endpoint}/cnet/{path}", content=b"after").status_code == 403
    assert web.delete(f"{endpoint}/cnet/readonly/f.txt").status_code == 403
    assert web.put(f"{endpoint}/cnet/readwrite/f.txt", content=b"after").status_code == 200
    assert web.put(f"{endpoint}/cnet/readwrite/new.txt", content=b"!").status_code == 200
    assert node.http.get("/api/data/readonly/f.txt").content == b"before"
    assert node.http.get("/api/data/readwrite/f.txt").content == b"after"
    now = node.json(node.http.get("/api/data/readwrite"))
    assert (now["file_count"], now["size"]) == (2, 6)


def test_a_token_is_asked_for_and_never_shown(node: Node, web: httpx.Client) -> None:
    upload(node, "k", b"data")
    workload = gateway(node, auth_token=TOKEN)
    url = f"{workload['endpoint']}/cnet/k/f.txt"
    assert web.get(url).status_code in {401, 403}
    assert web.get(url, headers={"authorization": "Bearer wrong-token"}).status_code in {401, 403}
    assert web.get(url, headers={"authorization": f"Bearer {TOKEN}"}).content == b"data"
    assert workload["config"]["auth_token"] == "***"
    shown = node.http.get("/api/workloads").text + node.http.get("/openapi.json").text
    assert TOKEN not in shown
    assert TOKEN not in node.agent.log()
    assert TOKEN not in "".join(node.logs(workload["id"]))
    for process in node.agent.processes():
        folder = Path(f"/proc/{process.pid}")
        seen = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        assert TOKEN.encode() not in seen
    (file,) = node.agent.data_dir.rglob("auth_token")
    assert (file.read_text(), file.stat().st_mode & 0o777) == (TOKEN, 0o600)
    node.http.delete(f"/api/workloads/{workload['id']}")
    assert not file.exists()


def test_a_gateway_outlives_the_agent_and_its_own_death(node: Node, web: httpx.Client) -> None:
    upload(node, "k", b"data")
    workload = gateway(node, auth_token=TOKEN)
    url = f"{workload['endpoint']}/cnet/k/f.txt"
    headers = {"authorization": f"Bearer {TOKEN}"}
    node.agent.kill()
    assert web.get(url, headers=headers).content == b"data"
    node.agent.restart()
    with Node(node.agent) as again:
        node.http.base_url = again.http.base_url
    os.kill(workload["process_pid"], 9)
    node.wait(workload["id"], lambda it: it["restarts"] == 1 and it["status"] == "running")
    assert web.get(url, headers=headers).content == b"data"


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"base_path": "/etc"}, "config.base_path"),
        ({"base_path": "a\0b"}, "config.base_path"),
        ({"bucket": "UPPER"}, "config.bucket"),
        ({"bucket": ".staging"}, "config.bucket"),
        ({"auth_token": "short"}, "config.auth_token"),
        ({"auth_token": "with\nline break"}, "config.auth_token"),
        ({"service_port": 70000}, "config.service_port"),
        ({"service_host": "0.0.0.0"}, "config.auth_token"),
        (
            {"service_host": "0.0.0.0", "anonymous": True, "read_only": False},
            "config.anonymous",
        ),
        ({"service_host": "no.such.host.invalid"}, "config.service_host"),
        ({"unknown": 1}, "config.unknown"),
    ],
)
def test_a_gateway_that_is_not_started(node: Node, config: Json, field: str) -> None:
    spec = {"name": "gw", "type": "datagateway", "config": config}
    reply = node.http.post("/api/workloads", json=spec)
    assert reply.status_code == 422, reply.text
    assert node.json(reply)["field"] == field, reply.text
