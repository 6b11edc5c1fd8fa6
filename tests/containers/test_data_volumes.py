"""Stored data as volumes of containers, on the node that has them and on another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from cnet.client import AgentClient
from tests.containers.test_health import is_taken_up
from tests.containers.working import agent_with, ended, output, sleeper, spec
from tests.support.agents import wait_until
from tests.support.engine import Engine
from tests.tree.trees import Tree, room

LOOK = "cat /one /all/a.txt /all/sub/b.txt /part/b.txt; touch /all/new && echo written"


def store(client: AgentClient) -> None:
    for key, kind, files in (
        ("tree", "files", [("a.txt", b"a"), ("sub/b.txt", b"b")]),
        ("one", "file", [("one.txt", b"1")]),
    ):
        reply = httpx.post(
            f"{client.url}/api/workloads",
            data={"config": f'{{"data_key": "{key}"}}'},
            files=[(kind, each) for each in files],
        )
        assert reply.status_code == 201, reply.text


def looking(**config: Any) -> dict[str, Any]:
    volumes = ["data://one:/one", "data://tree:/all:ro", "data://tree/sub:/part"]
    return spec("sh", "-c", LOOK, config={"volumes": volumes, **config})


def left(agent_folder: Path) -> list[Path]:
    return list(agent_folder.glob("data/containers/*/inputs"))


@pytest.mark.parametrize("user", [None, "guest"])
def test_they_are_read_only(tmp_path: Path, engine: Engine, user: str | None) -> None:
    with agent_with(tmp_path, engine) as agent:
        store(agent.client)
        asked = looking() if user is None else looking(user=user)
        made = ended(agent.client, agent.client.submit(asked))
        said = output(agent.client, made)
        text = "".join(said)
        assert "1abb" in text and "written" not in text
        assert made["exit_code"] == 1 and any("Read-only" in line for line in said), said
        assert left(tmp_path) == []


def test_they_last_as_long_as_the_container(tmp_path: Path, engine: Engine) -> None:
    with agent_with(tmp_path, engine) as agent:
        store(agent.client)
        made = agent.client.submit(sleeper(config={"volumes": ["data://tree:/all"]}))
        assert made["status"] == "running", made
        agent.kill()
        agent.restart()
        wait_until(lambda: is_taken_up(agent.client, made), timeout_s=60)
        agent.client.data.delete("tree")
        said = agent.client.exec(made["id"], ["cat", "/all/sub/b.txt"])
        assert said["stdout"] == "b" and len(left(tmp_path)) == 1
        agent.client.stop(made["id"])
        assert left(tmp_path) == []


@pytest.mark.timeout(300)
def test_they_come_from_other_nodes(tmp_path: Path, engine: Engine) -> None:
    with Tree(tmp_path) as tree:
        tree.start("jiangsu", resources=room(4), docker={"enabled": False})
        tree.start("nanjing", parent="jiangsu", resources=room(4), docker={"host": engine.host})
        tree.wait_seen("jiangsu", "nanjing", lambda it: "container" in it["kinds"])
        client = tree.agents["jiangsu"].client
        store(client)
        made = ended(client, client.submit(looking()))
        assert made["node_id"] == "nanjing" and "1abb" in "".join(output(client, made)), made
        nowhere = spec("true", config={"volumes": ["data://nothing:/x"]})
        failed = client.submit(nowhere)
        assert (failed["status"], failed["status_reason"]) == ("failed", "no_such_data"), failed


def test_what_is_nowhere_is_refused(tmp_path: Path, engine: Engine) -> None:
    with agent_with(tmp_path, engine) as agent:
        body = spec("true", config={"volumes": ["data://nothing:/x"]})
        reply = httpx.post(f"{agent.url}/api/workloads", json=body)
        assert (reply.status_code, reply.json()["error"]) == (422, "no_such_data"), reply.text
        assert reply.json()["field"] == "config.volumes"
