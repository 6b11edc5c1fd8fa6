"""The agent and the engine go away and come back: nothing is lost, doubled or left behind."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnet.client import AgentClient
from cnet.client.agent import ENDED
from cnet.errors import CnetError
from tests.containers.working import agent_with, ended, output, sleeper, spec
from tests.support.agents import AgentProcess, wait_until
from tests.support.engine import IMAGE, Engine
from tests.tree.trees import Tree, room

COUNT = "i=0; while true; do echo line $i; i=$((i+1)); sleep 0.01; done"
KILLS = 10


@pytest.fixture
def agent(tmp_path: Path, engine: Engine) -> Iterator[AgentProcess]:
    with agent_with(tmp_path, engine) as running:
        yield running


def state_of(engine: Engine, workload: dict[str, Any]) -> Any:
    return engine.ask("GET", f"/containers/{workload['container_id']}/json")["State"]


# --- the agent goes ------------------------------------------------------------------------------


def test_a_running_one_is_found_again_with_its_output(agent: AgentProcess, engine: Engine) -> None:
    made = agent.client.submit(spec("sh", "-c", COUNT, stop_grace_s=0, config={"ports": [80]}))
    wait_until(lambda: len(output(agent.client, made)) > 20, timeout_s=30)
    for _ in range(3):
        agent.kill()
        agent.restart()
        seen = len(output(agent.client, made))
        wait_until(lambda seen=seen: len(output(agent.client, made)) > seen + 20, timeout_s=30)
    found = agent.client.get(made["id"])
    same = ("status", "attempt", "container_id", "process_pid", "ports", "endpoint", "started_at")
    assert {name: found[name] for name in same} == {name: made[name] for name in same}
    agent.client.stop(made["id"])
    lines = output(agent.client, made)
    assert lines == [f"line {number}" for number in range(len(lines))]
    assert engine.names() == set()


def test_one_that_ended_meanwhile_is_told_with_its_exit_code(
    agent: AgentProcess, engine: Engine
) -> None:
    script = "echo begun; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo done; exit 5"
    made = agent.client.submit(spec("sh", "-c", script))
    agent.kill()
    go = {"Cmd": ["touch", "/tmp/go"]}
    asked = engine.ask("POST", f"/containers/{made['container_id']}/exec", json=go)["Id"]
    engine.ask("POST", f"/exec/{asked}/start", json={"Detach": True})
    wait_until(lambda: state_of(engine, made)["Status"] == "exited", timeout_s=30)
    agent.restart()
    done = ended(agent.client, made)
    assert (done["status"], done["exit_code"]) == ("failed", 5)
    assert output(agent.client, done) == ["begun", "done"]
    assert engine.names() == set()


def test_what_nobody_wants_any_more_is_removed_at_start(tmp_path: Path, engine: Engine) -> None:
    """Of this agent only: of others', and of those that are not ours at all, nothing."""
    with agent_with(tmp_path, engine) as agent:
        made = agent.client.submit(sleeper())
        labels = engine.containers()[0]["Labels"]
        agent.kill()
        orphan = labels | {"cnet.workload_id": "6c9a3df2-8c1b-4d61-9e0e-0c6f6e0f6f11"}
        others = orphan | {"cnet.instance": "another agent"}
        for name, mine in {"orphan": orphan, "others": others, "foreign": {}}.items():
            body = {"Image": IMAGE, "Cmd": ["sleep", "600"], "Labels": mine}
            engine.ask("POST", f"/containers/create?name={name}", json=body)
            engine.ask("POST", f"/containers/{name}/start")
        agent.restart()
        kept = {f"cnet-{made['id']}.1", "others", "foreign"}
        wait_until(lambda: engine.names() == kept, timeout_s=30, what=lambda: str(engine.names()))
        for name in ("others", "foreign"):
            engine.ask("DELETE", f"/containers/{name}", params={"force": "1"})


def test_a_container_that_was_never_started_is_made_anew(
    agent: AgentProcess, engine: Engine
) -> None:
    """As if the agent had died between the two requests."""
    made = agent.client.submit(sleeper())
    details = engine.ask("GET", f"/containers/{made['container_id']}/json")
    agent.kill()
    engine.ask("DELETE", f"/containers/{made['container_id']}", params={"force": "1"})
    (agent.data_dir / "containers" / made["id"] / "1" / "started").unlink()
    body = {"Image": IMAGE, "Cmd": ["sleep", "1"], "Labels": details["Config"]["Labels"]}
    engine.ask("POST", f"/containers/create?name={details['Name'][1:]}", json=body)
    agent.restart()
    found = agent.client.wait_for(
        made["id"],
        until=lambda it: (
            it["status"] in ENDED or it.get("container_id") not in {None, made["container_id"]}
        ),
        timeout=60,
    )
    if found["status"] not in ENDED:  # the agent died before it wrote down that it runs
        assert engine.names() == {f"cnet-{made['id']}.1"}
    else:  # it had run as far as the journal knows: what became of that cannot be told
        assert (found["status"], found["status_reason"]) == ("failed", "supervisor_lost")
        assert engine.names() == set()


class Users:
    """Threads that submit, stop and delete containers, whatever becomes of the agent."""

    def __init__(self, agent: AgentProcess, seed: int, count: int) -> None:
        self.agent = agent
        self.accepted: set[str] = set()
        self.deleted: set[str] = set()
        self.answers = 0
        self.may_be: set[str] = set()
        """asked for without an answer: either"""
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(seed + number),))
            for number in range(count)
        ]

    def __enter__(self) -> Users:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _work(self, chance: random.Random) -> None:
        mine: list[str] = []
        while not self._end.is_set():
            try:
                with AgentClient(self.agent.url) as client:
                    self._act(client, chance, mine)
                self.answers += 1
            except (CnetError, OSError):
                self._end.wait(0.05)

    def _act(self, client: AgentClient, chance: random.Random, mine: list[str]) -> None:
        if len(mine) < 3 or (chance.random() < 0.4 and len(mine) < 6):
            workload_id = str(uuid_of(chance))
            self.may_be.add(workload_id)
            kind = chance.choice([sleeper(), spec("sh", "-c", "exit 3"), spec("sleep", "0.2")])
            client.submit({**kind, "id": workload_id, "stop_grace_s": 0}, timeout=20)
            self.accepted.add(workload_id)
            mine.append(workload_id)
        elif chance.random() < 0.4:
            client.stop(chance.choice(mine), timeout=20)
        else:
            workload_id = mine.pop(chance.randrange(len(mine)))
            self.may_be.add(workload_id)
            self.accepted.discard(workload_id)
            client.delete(workload_id, timeout=20)
            self.deleted.add(workload_id)


def uuid_of(chance: random.Random) -> uuid.UUID:
    return uuid.UUID(int=chance.getrandbits(128), version=4)


def quiet(client: AgentClient, engine: Engine) -> str | None:
    """Why what is there is not what should be; None when it is."""
    known = client.list()
    unsettled = [it for it in known if it["status"] not in {*ENDED, "running"}]
    unsettled += [it for it in known if it["status"] == "running" and it["status_reason"]]
    wanted = {f"cnet-{it['id']}.{it['attempt']}" for it in known if it["status"] == "running"}
    there = engine.names()
    if unsettled or wanted != there:
        return f"{unsettled=}; missing {wanted - there}; too many {there - wanted}"
    return None


@pytest.mark.timeout(400)
def test_killed_again_and_again_under_load(agent: AgentProcess, engine: Engine) -> None:
    chance = random.Random(7)
    with Users(agent, seed=1000, count=3) as users:
        for _ in range(KILLS):
            enough = users.answers + 2
            wait_until(
                lambda enough=enough: users.answers >= enough, timeout_s=60, what="no answers"
            )
            threading.Event().wait(chance.uniform(0, 0.4))
            agent.kill()
            agent.restart()
    assert agent.process is not None and agent.process.poll() is None
    client = agent.client
    wait_until(
        lambda: quiet(client, engine) is None,
        timeout_s=120,
        what=lambda: str(quiet(client, engine)),
    )
    known = {it["id"] for it in client.list()}
    assert users.accepted <= known, "lost"
    assert known <= users.accepted | users.may_be, "of nobody"
    assert not users.deleted & known, "not deleted"
    assert not any(client.resources()["used"].values()), "none of them asked for room"


# --- the engine goes -----------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_an_engine_that_is_away_and_back(tmp_path: Path, own_engine: Engine) -> None:
    with agent_with(tmp_path, own_engine) as agent:
        client = agent.client
        made = client.submit(sleeper(restart={"policy": "always", "attempts": 0}))
        other = client.submit(sleeper(stop_grace_s=0))
        own_engine.kill()
        away = client.wait_for(
            made["id"], until=lambda it: it["status_reason"] == "engine_unreachable", timeout=60
        )
        assert away["status"] == "running" and str(own_engine.socket) in away["status_detail"]
        wait_until(lambda: "container" not in client.nodes()["nodes"][0]["kinds"])
        later = client.stop(other["id"])
        assert "when its engine can be reached again" in later["message"]
        assert later["workload"]["status_reason"] == "engine_unreachable"

        own_engine.start()  # which ends what it finds running
        back = client.wait_for(made["id"], until=lambda it: it["attempt"] == 2, timeout=90)
        client.wait_for(
            made["id"],
            until=lambda it: (it["status"], it["status_reason"]) == ("running", None),
            timeout=60,
        )
        assert back["restarts"] == 1
        assert ended(client, other)["status"] == "stopped"
        wait_until(lambda: own_engine.names() == {f"cnet-{made['id']}.2"}, timeout_s=30)
        wait_until(lambda: "container" in client.nodes()["nodes"][0]["kinds"])


@pytest.mark.timeout(300)
def test_an_engine_that_is_stopped_is_named(tmp_path: Path, own_engine: Engine) -> None:
    """Its containers are ended by it, in good order; that is no fault of theirs."""
    with agent_with(tmp_path, own_engine) as agent:
        made = agent.client.submit(sleeper())
        own_engine.stop()
        own_engine.start()
        done = ended(agent.client, made)
        assert (done["status"], done["status_reason"]) == ("failed", "engine_restarted"), done


@pytest.mark.timeout(300)
def test_an_agent_that_starts_before_its_engine(tmp_path: Path, own_engine: Engine) -> None:
    with agent_with(tmp_path, own_engine) as agent:
        made = agent.client.submit(sleeper())
        agent.kill()
        own_engine.stop()
        agent.restart()
        waiting = agent.client.wait_for(
            made["id"], until=lambda it: it["status_reason"] == "engine_unreachable", timeout=60
        )
        # The agent may have been killed before it wrote down that it runs.
        assert waiting["status"] in {"pending", "running"}
        own_engine.start()
        done = ended(agent.client, made)
        assert (done["status"], done["status_reason"]) == ("failed", "engine_restarted")


@pytest.mark.timeout(300)
def test_an_engine_that_hangs(tmp_path: Path, own_engine: Engine) -> None:
    """It closes no connection: what was under way over them is begun anew when it goes on."""
    with agent_with(tmp_path, own_engine) as agent:
        client = agent.client
        made = client.submit(spec("sh", "-c", COUNT, stop_grace_s=0))
        own_engine.freeze(frozen=True)
        try:
            client.wait_for(
                made["id"], until=lambda it: it["status_reason"] == "engine_unreachable", timeout=60
            )
        finally:
            own_engine.freeze(frozen=False)
        client.wait_for(
            made["id"],
            until=lambda it: (it["status"], it["status_reason"]) == ("running", None),
            timeout=60,
        )
        assert client.get(made["id"])["attempt"] == 1
        seen = len(output(client, made))
        wait_until(lambda: len(output(client, made)) > seen + 20, timeout_s=60)


# --- other nodes ---------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_it_goes_to_a_node_that_has_an_engine(tmp_path: Path, engine: Engine) -> None:
    nowhere = {"host": f"unix://{tmp_path}/nobody.sock"}
    with Tree(tmp_path) as tree:
        top = tree.start("jiangsu", resources=room(4), docker=nowhere)
        tree.start("nanjing", parent="jiangsu", resources=room(4), docker={"host": engine.host})
        tree.wait_seen("jiangsu", "nanjing", lambda it: "container" in it["kinds"])
        client = tree.agents["jiangsu"].client
        plan = client.plan(sleeper())
        assert plan["node"] == "nanjing"
        rejected = {it["node_id"]: it["reasons"] for it in plan["rejections"]}
        assert rejected["jiangsu"] == ["no executor for container"]
        made = client.submit(sleeper(name="far", config={"ports": [80]}, stop_grace_s=0))
        assert (made["status"], made["node_id"]) == ("running", "nanjing")
        assert made["ports"][0]["host_port"] > 0 and made["container_id"]
        assert client.why(made["id"])["node"] == "nanjing"
        said = client.exec(made["id"], ["sh", "-c", "echo $CNET_NODE_ID; exit 3"])
        assert (said["stdout"], said["exit_code"]) == ("nanjing\n", 3)
        with client.exec_session(made["id"], ["sh"], tty=True, stdin=True) as inside:
            inside.send(b"echo six$((3+3)); exit 5\n")
            heard = b"".join(data for _, data in inside)
        assert b"six6" in heard and inside.exit_code == 5
        assert client.logs(made["id"])["logs"] == []
        assert client.stop(made["id"])["workload"]["status"] == "stopped"
        client.delete(made["id"])
        assert engine.names() == set()
        assert top is not None
