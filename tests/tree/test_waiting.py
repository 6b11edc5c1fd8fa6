"""Work for which no node has room waits, says why for each node, and goes where room comes free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.api.node import Json, process_spec, refused
from tests.support.agents import alive, wait_until
from tests.tree.trees import NOTHING, PATIENCE_S, Tree, room

SMALL = ("suqian", "nanjing", "changzhou", "jiangsu")


def _fill(tree: Tree, *names: str, **fields: Any) -> dict[str, Json]:
    """Take all cores of these nodes, from the root."""
    found = {}
    for name in names:
        cores = tree[name].json(tree[name].http.get("/api/nodes/local"))["total"]["cpu"]
        found[name] = tree["jiangsu"].process(
            "sleep", "600", name=f"fills {name}", node=name, requirements={"cpu": cores}, **fields
        )
        assert found[name]["status"] == "running", found[name]
    return found


def _pending(tree: Tree, at: str = "jiangsu", cpu: float = 1, **fields: Any) -> Json:
    body = tree[at].process("sleep", "600", requirements={"cpu": cpu}, **fields)
    assert (body["status"], body["status_reason"]) == ("pending", "no_capacity"), body
    return body


@pytest.fixture
def full(tree: Tree) -> dict[str, Json]:
    """Every core of every node is taken."""
    return _fill(tree, *SMALL)


def test_one_reason_for_each_node(tree: Tree, full: dict[str, Json]) -> None:
    waiting = _pending(tree)
    reasons = waiting["status_detail"].split("; ")
    assert sorted(reasons) == sorted(f"{name}: cpu 1 cores short" for name in SMALL)
    assert waiting["node_id"] == "jiangsu"


@pytest.mark.parametrize("where", SMALL)
def test_placed_by_room_that_comes_free(tree: Tree, full: dict[str, Json], where: str) -> None:
    waiting = _pending(tree)
    tree["jiangsu"].stop(full[where]["id"])
    placed = tree["jiangsu"].wait_status(waiting["id"], "running")
    assert placed["node_id"] == where and alive(placed["pid"])


def test_placed_by_an_end_far_away(tree: Tree, tmp_path: Path) -> None:
    _fill(tree, "nanjing", "changzhou", "jiangsu")
    gate = tmp_path / "gate"
    script = 'while ! [ -e "$0" ]; do sleep 0.02; done'
    tree["jiangsu"].process("sh", "-c", script, str(gate), node="suqian", requirements={"cpu": 4})
    waiting = _pending(tree)
    gate.touch()
    placed = tree["jiangsu"].wait_status(waiting["id"], "running")
    assert placed["node_id"] == "suqian"


def test_no_room_and_no_wish_to_wait(tree: Tree, full: dict[str, Json]) -> None:
    spec = process_spec("true", requirements={"cpu": 1}, queue=False)
    body = refused(
        tree["jiangsu"].http.post("/api/workloads", json=spec), 409, "no_capacity", says="suqian"
    )
    assert len(body["reasons"]) == 4
    assert len(tree.listed("jiangsu")) == 4


def test_never_possible(tree: Tree) -> None:
    spec = process_spec("true", requirements={"cpu": 64})
    body = refused(tree["jiangsu"].http.post("/api/workloads", json=spec), 409, "no_capacity")
    assert len(body["reasons"]) == 4
    assert all("too small" in reason for reason in body["reasons"])
    spec = process_spec("true", node="changzhou", requirements={"cpu": 3})
    body = refused(tree["jiangsu"].http.post("/api/workloads", json=spec), 409, "no_capacity")
    assert tree.listed("jiangsu") == []


def test_the_highest_priority_is_placed_first(tree: Tree, full: dict[str, Json]) -> None:
    """Of equals the one that has waited longest."""
    waiting = [_pending(tree, cpu=4, priority=each) for each in (-5, 3, 0, 7, 3, -1)]
    running = full["suqian"]
    for number in (3, 1, 4, 2, 5, 0):
        tree["jiangsu"].stop(running["id"])
        running = tree["jiangsu"].wait_status(waiting[number]["id"], "running")
        assert running["node_id"] == "suqian"
        started = [it for it in waiting if tree["jiangsu"].get(it["id"])["status"] == "running"]
        assert [it["id"] for it in started] == [running["id"]]


def test_a_waiting_one_is_stopped_and_deleted(tree: Tree, full: dict[str, Json]) -> None:
    waiting = _pending(tree)
    assert tree["jiangsu"].stop(waiting["id"])["status"] == "stopped"
    gone = _pending(tree)
    assert tree["jiangsu"].http.delete(f"/api/workloads/{gone['id']}").status_code == 200
    tree["jiangsu"].stop(full["suqian"]["id"])
    tree.wait_seen("jiangsu", "suqian", lambda it: it["used"] == NOTHING)
    assert tree["jiangsu"].get(waiting["id"])["status"] == "stopped"


def test_many_wait_and_each_core_is_given_once(tree: Tree) -> None:
    """11 cores, 30 workloads of one core: 11 run at any time until all have."""
    root = tree["jiangsu"]
    bodies = [
        root.submit(process_spec("sleep", "0.2", requirements={"cpu": 1}), wait="false")
        for _ in range(30)
    ]
    over: list[str] = []

    def all_ended() -> bool:
        for name in SMALL:
            used, total = tree[name].used()["cpu"], {"suqian": 4, "nanjing": 4}.get(name, 2)
            if used > total:
                over.append(f"{name}: {used}")
        return all(root.get(body["id"])["status"] == "completed" for body in bodies)

    wait_until(
        all_ended,
        timeout_s=PATIENCE_S,
        what=lambda: str([root.get(b["id"])["status_detail"] for b in bodies]),
    )
    assert not over
    assert {root.get(body["id"])["attempt"] for body in bodies} == {1}


# --- preemption ----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["jiangsu", "nanjing", "suqian"])
def test_a_higher_priority_ends_what_may_be_ended(tree: Tree, where: str) -> None:
    root = tree["jiangsu"]
    victim = _fill(tree, where, preemptible=True, priority=-1)[where]
    cores = victim["requirements"]["cpu"]
    important = root.process(
        "sleep", "600", name="important", node=where, priority=5, requirements={"cpu": cores}
    )
    important = root.wait_status(important["id"], "running")
    assert important["node_id"] == where
    assert not alive(victim["pid"])
    queued = root.get(victim["id"])
    assert queued["status"] == "pending", queued
    assert tree[where].used()["cpu"] == cores
    root.stop(important["id"])
    again = root.wait_status(victim["id"], "running")
    assert (again["node_id"], again["attempt"]) == (where, 2)


def test_what_was_preempted_says_so(tree: Tree) -> None:
    root = tree["jiangsu"]
    victim = _fill(tree, "suqian", preemptible=True)["suqian"]
    told: list[Json] = []
    with root.events() as events:
        next(events)
        root.process("sleep", "600", node="suqian", priority=5, requirements={"cpu": 4})
        for event in events:
            if event["data"].get("workload_id") == victim["id"]:
                told.append(event["data"])
                if event["data"]["status"] == "pending":
                    break
    assert any(it["status_reason"] == "preempted" for it in told), [
        (it["status"], it["status_reason"], it["status_detail"]) for it in told
    ]


def test_what_was_preempted_goes_elsewhere_if_it_can(tree: Tree) -> None:
    root = tree["jiangsu"]
    _fill(tree, "nanjing")
    victim = root.process("sleep", "600", preemptible=True, requirements={"cpu": 2}, node=None)
    where = victim["node_id"]
    other = {"suqian": "changzhou", "changzhou": "suqian"}[where]
    cores = {"suqian": 4, "changzhou": 2}[where]
    important = root.process("sleep", "600", node=where, priority=1, requirements={"cpu": cores})
    assert root.wait_status(important["id"], "running")["node_id"] == where
    assert root.wait_status(victim["id"], "running")["node_id"] == other


def test_nothing_else_is_ended(tree: Tree) -> None:
    """Not without `preemptible`, not for the same priority, and no more than needed."""
    root = tree["jiangsu"]
    firm = root.process("sleep", "600", node="suqian", requirements={"cpu": 2})
    equal = root.process(
        "sleep", "600", node="suqian", preemptible=True, priority=5, requirements={"cpu": 1}
    )
    soft = root.process("sleep", "600", node="suqian", preemptible=True, requirements={"cpu": 1})
    big = _pending(tree, cpu=2, node="suqian", priority=5)
    assert {root.get(it["id"])["pid"] for it in (firm, equal, soft)} == {
        it["pid"] for it in (firm, equal, soft)
    }
    root.stop(big["id"])
    small = root.process("sleep", "600", node="suqian", priority=5, requirements={"cpu": 1})
    root.wait_status(small["id"], "running")
    assert alive(firm["pid"]) and alive(equal["pid"]) and not alive(soft["pid"])


# --- nodes that come ------------------------------------------------------------------------------


def test_placed_by_a_node_that_joins(grown: Tree) -> None:
    root = grown.start("jiangsu", resources=room(1))
    waiting = root.process("sleep", "600", requirements={"cpu": 1}, labels={"n": "1"})
    assert waiting["status"] == "running"
    second = root.process("sleep", "600", requirements={"cpu": 1})
    assert second["status"] == "pending"
    grown.start("nanjing", parent="jiangsu", resources=room(4))
    assert root.wait_status(second["id"], "running")["node_id"] == "nanjing"
