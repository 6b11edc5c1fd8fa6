"""The event stream: everything once, in order, also across a restart of the agent."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.api.node import Json, Node, process_spec, until_told
from tests.support.agents import AgentProcess, alive, start_agent, wait_until


def _until(events: Iterator[Json], status: str) -> list[Json]:
    """Workload events up to the first with that status."""
    found = []
    for event in events:
        if event["event"] == "workload":
            found.append(event)
            if event["data"]["status"] == status:
                return found
    raise AssertionError(f"the stream ended before {status!r}: {found}")


def test_a_life_in_order(node: Node) -> None:
    with node.events() as events:
        first = next(events)  # the room, as it is when the stream begins
        assert first["event"] == "resources" and "id" not in first
        assert set(first["data"]) == {"total", "available", "used"}
        body = node.process("sleep", "0.2", name="short", requirements={"cpu": 1})
        seen = _until(events, "completed")
    ids = [int(event["id"]) for event in seen]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert [event["data"]["seq"] for event in seen] == ids
    assert [event["data"]["status"] for event in seen] == ["pending", "running", "completed"]
    assert {event["data"]["workload_id"] for event in seen} == {body["id"]}
    for event in seen:
        assert set(event["data"]) == {
            "seq",
            "time",
            "event",
            "workload_id",
            "name",
            "type",
            "status",
            "status_reason",
            "status_detail",
        }
        assert (event["data"]["name"], event["data"]["type"]) == ("short", "process")


def test_room_is_told_when_it_changes(node: Node) -> None:
    with node.events() as events:
        used = [next(events)["data"]["used"]["cpu"]]
        body = node.process("sleep", "60", requirements={"cpu": 2})
        node.stop(body["id"])
        for event in events:
            if event["event"] == "resources":
                used.append(event["data"]["used"]["cpu"])
                if used[-1] == 0:
                    break
    assert used == [0, 2, 0]


def test_of_one_workload_only(node: Node) -> None:
    other = node.process("sleep", "60", name="other")
    body = node.process("sleep", "60", name="wanted")
    with node.events(workload=body["id"]) as events:
        node.stop(other["id"])
        node.stop(body["id"])
        seen = _until(events, "stopped")
    assert {event["data"]["name"] for event in seen} == {"wanted"}


def test_deletion_is_the_last_word(node: Node) -> None:
    with node.events() as events:
        next(events)
        body = node.process("sleep", "60")
        node.http.delete(f"/api/workloads/{body['id']}")
        seen = _until(events, "deleted")
    assert [event["data"]["status"] for event in seen][-2:] == ["stopped", "deleted"]


def test_two_listeners_see_the_same(node: Node) -> None:
    with Node(node.agent) as second, node.events() as here, second.events() as there:
        assert next(here) == next(there)
        node.process("true")
        assert _until(here, "completed") == _until(there, "completed")


@pytest.mark.parametrize("header", ["abc", "-1", "1.5", "9" * 40, "\u0663"])
def test_an_id_that_is_no_number_of_ours(node: Node, header: str) -> None:
    """A browser sends what it was given once; nonsense must not shut it out."""
    headers = {b"Last-Event-ID": header.encode()}
    with node.http.stream("GET", "/api/events", headers=headers) as reply:
        assert reply.status_code == 200
        assert next(reply.iter_lines()) == "retry: 1000"


@pytest.fixture
def own_agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent that may be restarted."""
    agent = start_agent(tmp_path, resources={"cpu": 4})
    yield agent
    agent.stop()


def test_a_run_that_ended_before_its_start_was_written_down_has_still_run(
    own_agent: AgentProcess,
) -> None:
    spec = process_spec("sh", "-c", f"kill -9 {own_agent.pid}; exit 7", id=str(uuid.uuid4()))
    with Node(own_agent) as before, before.events() as events:
        before.process("true")
        last = int(_until(events, "completed")[-1]["id"])
        with suppress(httpx.TransportError):
            before.submit(spec)
        wait_until(lambda: own_agent.process and own_agent.process.poll() is not None)
    own_agent.restart()
    with Node(own_agent) as after:
        ended = after.wait_status(spec["id"], "failed")
        assert ended["exit_code"] == 7
        assert ended["started_at"] is not None
        with after.events(after=last) as events:
            seen = _until(events, "failed")
    assert [event["data"]["status"] for event in seen] == ["pending", "running", "failed"]


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_going_on_across_a_restart(own_agent: AgentProcess, tmp_path: Path, end: str) -> None:
    """What happens while the agent is away, and while nobody listens, is told afterwards."""
    with Node(own_agent) as before, before.events() as events:
        next(events)
        short = before.process(*until_told(tmp_path / "go", "exit 7"), name="short")
        last = int(_until(events, "running")[-1]["id"])
        unseen = before.process("true", name="unseen")
        before.wait_status(unseen["id"], "completed")
    own_agent.kill() if end == "kill" else own_agent.terminate()
    (tmp_path / "go").touch()
    wait_until(lambda: not alive(short["pid"]))
    own_agent.restart()
    with Node(own_agent) as after:
        ended = after.wait_status(short["id"], "failed")
        assert ended["exit_code"] == 7
        with after.events(after=last) as events:
            seen = _until(events, "failed")
    told = [(event["data"]["name"], event["data"]["status"]) for event in seen]
    assert [status for name, status in told if name == "unseen"] == [
        "pending",
        "running",
        "completed",
    ]
    assert told[-1] == ("short", "failed")
    numbers = [int(event["id"]) for event in seen]
    assert numbers == sorted(set(numbers)) and numbers[0] == last + 1
