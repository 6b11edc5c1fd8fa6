"""Agents are killed while their work runs: nothing is lost, nothing is doubled, wishes are kept."""

from __future__ import annotations

import random
import threading
import uuid
from pathlib import Path

import httpx
import pytest

from tests.api.node import Json, process_spec
from tests.support.agents import alive, wait_until
from tests.tree.trees import PATIENCE_S, Tree, living, stamping, starts

ROLES = pytest.mark.parametrize(
    "killed", ["jiangsu", "nanjing", "suqian"], ids=["owner", "in between", "host"]
)
BETWEEN_OR_HOST = pytest.mark.parametrize(
    "killed", ["nanjing", "suqian"], ids=["in between", "host"]
)
OWNER_TOO = pytest.mark.parametrize(
    "owner_too", [False, True], ids=["", "owner restarted meanwhile"]
)


@pytest.fixture
def stamps(tmp_path: Path) -> Path:
    return tmp_path / "stamps"


def _stamped(tree: Tree, stamps: Path, **fields: object) -> Json:
    spec = process_spec(*stamping(stamps), node="suqian", **fields)
    body: Json = tree["jiangsu"].submit(spec)
    assert body["status"] == "running", body
    wait_until(lambda: starts(stamps) == [body["pid"]], timeout_s=PATIENCE_S)
    return body


def _cut_off(tree: Tree, stamps: Path, killed: str) -> Json:
    """A run that its owner cannot reach, because the host or the agent in between was killed."""
    body = _stamped(tree, stamps)
    tree.agents[killed].kill()
    seen = _unreachable(tree, body)
    assert "suqian cannot be reached" in seen["status_detail"]
    return body


def _back(tree: Tree, name: str) -> None:
    tree.agents[name].restart()
    tree.linked("jiangsu", "nanjing", "suqian", "changzhou")
    tree.linked("suqian", "nanjing")


def _unreachable(tree: Tree, body: Json) -> Json:
    return tree["jiangsu"].wait(
        body["id"], lambda it: bool(it["status_reason"] == "node_unreachable")
    )


def _runs_alone(stamps: Path, running: Json, *earlier: int) -> None:
    """Nothing else of it is alive, and nothing was started but this and the `earlier` pids."""
    wait_until(lambda: living(stamps) == [running["pid"]], timeout_s=PATIENCE_S)
    assert starts(stamps) == [*earlier, running["pid"]]


@ROLES
def test_the_work_of_a_killed_agent_goes_on(tree: Tree, stamps: Path, killed: str) -> None:
    if killed == "jiangsu":
        body = _stamped(tree, stamps)
        tree.agents[killed].kill()
    else:
        body = _cut_off(tree, stamps, killed)
    assert alive(body["pid"])
    _back(tree, killed)
    after = tree["jiangsu"].wait(
        body["id"], lambda it: it["status"] == "running" and it["status_reason"] is None
    )
    assert (after["pid"], after["attempt"], after["node_id"]) == (body["pid"], 1, "suqian")
    _runs_alone(stamps, body)
    assert tree["jiangsu"].stop(body["id"])["status"] == "stopped"
    assert not alive(body["pid"])


@ROLES
def test_an_end_while_an_agent_is_away_is_heard_of(tree: Tree, tmp_path: Path, killed: str) -> None:
    gate = tmp_path / "gate"
    script = 'while ! [ -e "$0" ]; do sleep 0.02; done; exit 3'
    body = tree["jiangsu"].process("sh", "-c", script, str(gate), node="suqian")
    tree.agents[killed].kill()
    gate.touch()
    wait_until(lambda: not alive(body["pid"]), timeout_s=PATIENCE_S)
    _back(tree, killed)
    ended = tree["jiangsu"].wait_status(body["id"], "failed")
    assert (ended["status_reason"], ended["exit_code"], ended["attempt"]) == ("exit_nonzero", 3, 1)


def _kill_and_restart_the_owner(tree: Tree) -> None:
    tree.agents["jiangsu"].kill()
    tree.agents["jiangsu"].restart()


@BETWEEN_OR_HOST
@OWNER_TOO
def test_a_stop_is_carried_out_when_the_host_is_back(
    tree: Tree, stamps: Path, killed: str, owner_too: bool
) -> None:
    body = _cut_off(tree, stamps, killed)
    reply = tree["jiangsu"].http.post(f"/api/workloads/{body['id']}/stop")
    assert reply.status_code == 202, reply.text
    assert "suqian" in reply.json()["message"]
    assert reply.json()["workload"]["desired"] == "stopped"
    if owner_too:
        _kill_and_restart_the_owner(tree)
        assert tree["jiangsu"].get(body["id"])["desired"] == "stopped"
    assert alive(body["pid"])
    _back(tree, killed)
    tree["jiangsu"].wait_status(body["id"], "stopped")
    assert not alive(body["pid"])
    assert tree["suqian"].get(body["id"])["status"] == "stopped"
    assert starts(stamps) == [body["pid"]]


@BETWEEN_OR_HOST
@OWNER_TOO
def test_a_delete_is_carried_out_when_the_host_is_back(
    tree: Tree, stamps: Path, killed: str, owner_too: bool
) -> None:
    body = _cut_off(tree, stamps, killed)
    reply = tree["jiangsu"].http.delete(f"/api/workloads/{body['id']}")
    assert reply.status_code == 202, reply.text
    if owner_too:
        _kill_and_restart_the_owner(tree)
    _back(tree, killed)
    wait_until(
        lambda: tree["jiangsu"].http.get(f"/api/workloads/{body['id']}").status_code == 404,
        timeout_s=PATIENCE_S,
        what=lambda: str(tree["jiangsu"].get(body["id"])),
    )
    assert not alive(body["pid"])
    tree.wait_bare("suqian")


def test_a_restart_is_carried_out_when_the_host_is_back(tree: Tree, stamps: Path) -> None:
    body = _cut_off(tree, stamps, "suqian")
    reply = tree["jiangsu"].http.post(f"/api/workloads/{body['id']}/restart?wait=false")
    assert reply.status_code == 200, reply.text
    _back(tree, "suqian")
    again = tree["jiangsu"].wait(
        body["id"], lambda it: it["status"] == "running" and it["attempt"] == 2
    )
    _runs_alone(stamps, again, body["pid"])


def test_the_host_stops_it_while_the_owner_is_away(tree: Tree, stamps: Path) -> None:
    body = _stamped(tree, stamps)
    tree.agents["jiangsu"].kill()
    # Until the owner's link is seen to be gone, the request is carried to it in vain.
    reply: list[httpx.Response] = []

    def stopped() -> bool:
        reply[:] = [tree["suqian"].http.post(f"/api/workloads/{body['id']}/stop")]
        return reply[0].status_code == 200

    wait_until(stopped, timeout_s=PATIENCE_S, what=lambda: reply[0].text)
    assert not alive(body["pid"])
    refusal = tree["suqian"].http.delete(f"/api/workloads/{body['id']}")
    assert (refusal.status_code, refusal.json()["error"]) == (503, "node_unreachable")
    _back(tree, "jiangsu")
    tree["jiangsu"].wait_status(body["id"], "stopped")


def test_what_waits_is_still_waiting_after_a_kill_of_the_owner(tree: Tree) -> None:
    root = tree["jiangsu"]
    filling = root.process("sleep", "600", node="suqian", requirements={"cpu": 4})
    waiting = root.process("sleep", "600", node="suqian", requirements={"cpu": 4})
    assert waiting["status"] == "pending"
    tree.agents["jiangsu"].kill()
    _back(tree, "jiangsu")
    assert root.get(waiting["id"])["status"] == "pending"
    root.stop(filling["id"])
    assert root.wait_status(waiting["id"], "running")["node_id"] == "suqian"


@pytest.mark.timeout(400)
def test_every_acknowledged_submit_runs_once(tree: Tree, tmp_path: Path) -> None:
    """The owner is killed at 20 moments around a submit; then the same submit is sent again."""
    rng = random.Random(20260102)
    for number in range(20):
        stamps = tmp_path / f"stamps-{number}"
        where = rng.choice(["nanjing", "suqian"])
        spec = process_spec(*stamping(stamps), id=str(uuid.uuid4()), node=where)
        acknowledged: list[int] = []

        def submit(spec: Json = spec, acknowledged: list[int] = acknowledged) -> None:
            try:
                reply = tree["jiangsu"].http.post("/api/workloads?wait=false", json=spec)
            except httpx.TransportError:
                return
            acknowledged.append(reply.status_code)

        asking = threading.Thread(target=submit)
        asking.start()
        asking.join(timeout=rng.choice([0.002, 0.005, 0.01, 0.02, 0.05, 0.1]))
        tree.agents["jiangsu"].kill()
        asking.join()
        _back(tree, "jiangsu")
        found = tree["jiangsu"].http.get(f"/api/workloads/{spec['id']}").status_code
        if acknowledged:
            assert acknowledged == [201]
            assert found == 200, "it was acknowledged"
        again = tree["jiangsu"].http.post("/api/workloads", json=spec)
        assert again.status_code == (200 if found == 200 else 201), again.text
        _runs_alone(stamps, tree["jiangsu"].wait_status(spec["id"], "running"))
        tree["jiangsu"].http.delete(f"/api/workloads/{spec['id']}")


@pytest.mark.timeout(400)
def test_hosts_killed_around_an_assignment(tree: Tree, tmp_path: Path) -> None:
    """The host is killed at 10 moments after a submit at the owner: it runs, and once at a time."""
    rng = random.Random(20260103)
    for number in range(10):
        stamps = tmp_path / f"stamps-{number}"
        spec = process_spec(*stamping(stamps), id=str(uuid.uuid4()), node="suqian")
        tree["jiangsu"].submit(spec, wait="false")
        threading.Event().wait(rng.choice([0, 0.002, 0.005, 0.01, 0.02, 0.05]))
        tree.agents["suqian"].kill()
        _back(tree, "suqian")
        running = tree["jiangsu"].wait_status(spec["id"], "running")
        assert running["attempt"] == 1
        _runs_alone(stamps, running)
        tree["jiangsu"].http.delete(f"/api/workloads/{spec['id']}")
