"""`cnet node forget`: a person gives up a node that will never be back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cnet
from tests.support.agents import AgentProcess, alive, start_agent, wait_until


@pytest.fixture
def far(agent: AgentProcess, cnet: Cnet, tmp_path: Path) -> Iterator[AgentProcess]:
    """`far`, a child of the agent that `cnet` talks to; both see each other."""
    folder = tmp_path / "far"
    folder.mkdir()
    child = start_agent(
        folder,
        resources={"cpu": 4, "gpu": 0, "memory": 8 * 1024**3, "storage": 20 * 1024**3},
        agent={"node_id": "far", "labels": {"away": "yes"}},
        parent={"enabled": True, "address": agent.url.removeprefix("http://")},
    )
    try:
        wait_until(lambda: status_of(cnet, "far") == "active", what=child.log)
        yield child
    finally:
        child.discard()


def status_of(cnet: Cnet, node_id: str) -> str | None:
    nodes = cnet("nodes", "--json").json["nodes"]
    return next((node["status"] for node in nodes if node["node_id"] == node_id), None)


def where(cnet: Cnet, name: str) -> tuple[str, str]:
    described = cnet("describe", "--json", name).json
    return described["node_id"], described["status"]


def test_a_lost_node_is_forgotten_and_its_work_is_placed_again(
    cnet: Cnet, far: AgentProcess
) -> None:
    options = ("--name", "stray", "--prefer", "away=yes", "--", "sleep", "600")
    assert cnet("run", "--json", *options).json["node_id"] == "far"
    far.discard()
    wait_until(lambda: status_of(cnet, "far") == "unreachable")
    stray = cnet("describe", "--json", "stray").json
    assert (stray["node_id"], stray["status_reason"]) == ("far", "node_unreachable")
    forgotten = cnet("node", "forget", "far")
    assert (forgotten.code, forgotten.out) == (0, "node far given up\n"), forgotten.err
    assert status_of(cnet, "far") is None
    wait_until(lambda: where(cnet, "stray") == ("here", "running"))
    assert alive(cnet("describe", "--json", "stray").json["process_pid"])
    assert cnet("rm", "-f", "stray").code == 0
    again = cnet("node", "forget", "far")
    assert again.code == 3
    assert "far" in again.err


def test_a_node_that_can_be_reached_is_not_forgotten(cnet: Cnet, far: AgentProcess) -> None:
    refused = cnet("node", "forget", "--json", "far")
    assert (refused.code, refused.out) == (1, "")
    assert "can be reached" in refused.err
    assert status_of(cnet, "far") == "active"
    assert cnet("node", "forget", "here").code == 1
