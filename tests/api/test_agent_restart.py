"""A restarted agent has everything again, and what ran has not noticed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.node import Json, Node
from tests.support.agents import AgentProcess, alive, start_agent, wait_until

CHANGING = frozenset({"updated_at"})


@pytest.fixture
def own_agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent that may be restarted."""
    agent = start_agent(tmp_path, resources={"cpu": 4, "gpu": 2, "storage": 1 << 30})
    yield agent
    agent.stop()


def _one_of_each(node: Node) -> dict[str, Json]:
    labels = {"team": "vision"}
    found = {
        "running": node.process(
            "sleep", "60", name="running", requirements={"cpu": 2, "gpu": 1}, labels=labels
        ),
        "service": node.submit(
            {"name": "s", "type": "opencv", "config": {}, "requirements": {"cpu": 1}}
        ),
        "completed": node.process("true", name="completed"),
        "failed": node.process("sh", "-c", "echo why; exit 7", name="failed"),
        "stopped": node.process("sleep", "60", name="stopped"),
    }
    node.wait_status(found["completed"]["id"], "completed")
    node.wait_status(found["failed"]["id"], "failed")
    node.stop(found["stopped"]["id"])
    # Durable when it is answered, and so is what was before it: ends are recorded soon, in order.
    found["pending"] = node.process("sleep", "61", name="pending", requirements={"cpu": 3})
    return {name: _lasting(node.get(body["id"])) for name, body in found.items()}


def _lasting(body: Json) -> Json:
    return {name: value for name, value in body.items() if name not in CHANGING}


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_everything_is_there_again(own_agent: AgentProcess, end: str) -> None:
    with Node(own_agent) as node:
        before = _one_of_each(node)
        used, stats = node.used(), node.json(node.http.get("/api/resources/stats"))
        listed = [it["id"] for it in node.json(node.http.get("/api/workloads"))["workloads"]]
    own_agent.kill() if end == "kill" else own_agent.terminate()
    assert httpx.get(f"{before['service']['endpoint']}/health").status_code == 200
    assert alive(before["running"]["pid"])
    own_agent.restart()
    with Node(own_agent) as node:
        after = {name: _lasting(node.get(body["id"])) for name, body in before.items()}
        assert after == before
        assert (node.used(), node.json(node.http.get("/api/resources/stats"))) == (used, stats)
        again = [it["id"] for it in node.json(node.http.get("/api/workloads"))["workloads"]]
        assert again == listed
        assert node.logs(before["failed"]["id"]) == ["why"]
        assert httpx.get(f"{before['service']['endpoint']}/health").status_code == 200
        # and it is still in charge of them
        assert node.stop(before["running"]["id"])["exit_signal"] == "SIGTERM"
        assert not alive(before["running"]["pid"])
        assert node.wait_status(before["pending"]["id"], "running")["pid"]
        assert node.stop(before["service"]["id"])["status"] == "stopped"


def test_the_same_submit_after_a_restart_starts_nothing(own_agent: AgentProcess) -> None:
    spec = {
        "id": "7e0cbd3c-6f0b-4a53-9d4e-3a0a6f3d6a11",
        "name": "once",
        "type": "process",
        "config": {"command": "sleep", "args": [60], "env": {"A": 1.5}},
        "requirements": {"cpu": 0.1},
    }
    with Node(own_agent) as node:
        first = node.submit(spec)
    own_agent.kill()
    own_agent.restart()
    with Node(own_agent) as node:
        reply = node.http.post("/api/workloads", json=spec)
        assert (reply.status_code, reply.json()["pid"]) == (200, first["pid"])


def test_an_end_while_the_agent_was_away(own_agent: AgentProcess, tmp_path: Path) -> None:
    """Nobody saw it; the exit record tells, and the waiting one gets the room."""
    with Node(own_agent) as node:
        script = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo last words; exit 7"
        first = node.process("sh", "-c", script, requirements={"cpu": 4})
        second = node.process("sleep", "60", requirements={"cpu": 4})
    own_agent.kill()
    (tmp_path / "go").touch()
    wait_until(lambda: not alive(first["pid"]))
    own_agent.restart()
    with Node(own_agent) as node:
        failed = node.wait_status(first["id"], "failed")
        assert (failed["exit_code"], failed["log_tail"]) == (7, ["last words"])
        node.wait_status(second["id"], "running")
        assert node.used()["cpu"] == 4


def test_stopping_everything_with_the_agent(tmp_path: Path) -> None:
    agent = start_agent(tmp_path, resources={"cpu": 4}, agent={"stop_workloads_on_exit": True})
    with Node(agent) as node:
        first = node.process("sleep", "60", requirements={"cpu": 4})
        waiting = node.process("sleep", "60", requirements={"cpu": 4})
    assert agent.terminate() == 0
    assert not alive(first["pid"])
    agent.restart()
    with Node(agent) as node:
        for workload in (first, waiting):
            assert node.get(workload["id"])["status"] == "stopped"
    agent.stop()


def test_streams_end_when_the_agent_goes(own_agent: AgentProcess) -> None:
    """An open event stream or log does not hold up the end of the agent."""
    with Node(own_agent) as node:
        body = node.process("sh", "-c", "echo ready; exec sleep 60")
        path = f"/api/workloads/{body['id']}/logs?follow=true"
        with node.events() as events, node.http.stream("GET", path) as logs:
            next(events)
            chunks = logs.iter_bytes()
            assert next(chunks) == b"ready\n"
            assert own_agent.terminate() == 0
            assert b"".join(chunks) == b""
            assert [event for event in events if event["event"] == "workload"] == []
    assert "Traceback" not in own_agent.log()
