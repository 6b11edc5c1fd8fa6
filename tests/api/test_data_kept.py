"""Data are not forgotten by themselves, and a stop that was cut off is finished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.node import Node
from tests.support.agents import AgentProcess, start_agent, wait_until


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent that keeps no ended workload."""
    agent = start_agent(
        tmp_path,
        resources={"cpu": 4, "gpu": 0, "memory": 8 * 1024**3, "storage": 1024**3},
        agent={"keep_ended": 0},
    )
    yield agent
    agent.stop()


def test_ended_workloads_are_forgotten_but_not_data(forgetful: AgentProcess) -> None:
    with Node(forgetful) as node:
        reply = node.http.post("/api/workloads", files={"file": ("f", b"kept")})
        upload = node.json(reply)["workload"]
        content = {"upload_method": "file", "content": "fetched"}
        fetched = node.submit({"name": "fetched", "type": "data", "config": content})
        node.wait_status(fetched["id"], "completed")
        process = node.process("true")
        wait_until(lambda: node.http.get(f"/api/workloads/{process['id']}").status_code == 404)
    forgetful.kill()
    forgetful.restart()
    with Node(forgetful) as node:
        names = [it["id"] for it in node.json(node.http.get("/api/workloads"))["workloads"]]
        assert names == [upload["id"], fetched["id"]]
        assert node.http.get(f"/api/data/{upload['id']}/f").content == b"kept"
        node.stop(upload["id"])
        wait_until(lambda: node.http.get(f"/api/workloads/{upload['id']}").status_code == 404)


def test_one_data_folder_has_one_agent(forgetful: AgentProcess, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    data_path = str(forgetful.data_dir / "data")
    with pytest.raises(AssertionError, match="in use by another agent"):
        start_agent(other, storage={"sqlite": {"data_path": data_path}})


def test_the_paths_of_older_configurations_are_used(tmp_path: Path) -> None:
    paths = {"db_path": str(tmp_path / "x/y/cnet.db"), "data_path": str(tmp_path / "bytes")}
    agent = start_agent(tmp_path, storage={"type": "sqlite", "sqlite": paths})
    try:
        with Node(agent) as node:
            reply = node.http.post("/api/workloads", files={"file": ("f", b"content")})
            key = node.json(reply)["data_key"]
            gateway = node.submit({"name": "gw", "type": "datagateway", "config": {}})
            assert gateway["status"] == "running", gateway
            url = f"{gateway['endpoint']}/s3/cnet/{key}/f"
            assert node.http.get(url).content == b"content"
            done = node.submit(
                {"name": "d", "type": "data", "config": {"upload_method": "file", "content": "c"}}
            )
            node.wait_status(done["id"], "completed")
        assert (tmp_path / "x/y/cnet.db").is_file()
        assert [
            path.read_bytes() for path in (tmp_path / "bytes/blobs").rglob("*") if path.is_file()
        ]
        assert not (agent.data_dir / "data").exists()
    finally:
        agent.stop()
