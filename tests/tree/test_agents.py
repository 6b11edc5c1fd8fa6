"""Agents that end, start again and clash, with work of others on them."""

from __future__ import annotations

import pytest

from tests.api.node import Json, Node, process_spec
from tests.support.agents import alive, wait_until
from tests.tree.trees import NOTHING, PATIENCE_S, Tree, room


def _two(tree: Tree, **root: object) -> Node:
    """jiangsu without room over nanjing with four cores."""
    tree.launch("jiangsu", resources=room(0), **root)
    tree.launch("nanjing", parent="jiangsu", resources=room(4))
    tree.wait_healthy()
    tree.linked("jiangsu", "nanjing")
    return tree["jiangsu"]


def test_ended_ones_are_forgotten_here_and_there(grown: Tree) -> None:
    root = _two(grown, agent={"keep_ended": 2})
    bodies = []
    for _ in range(5):
        bodies.append(root.process("true", requirements={"cpu": 1}))
        root.wait_status(bodies[-1]["id"], "completed")
    kept = [body["id"] for body in bodies[-2:]]
    for name in ("jiangsu", "nanjing"):
        wait_until(
            lambda name=name: [it["id"] for it in grown.listed(name)] == kept,  # type: ignore[misc]
            timeout_s=PATIENCE_S,
            what=lambda name=name: f"{name}: {grown.listed(name)}",  # type: ignore[misc]
        )
    wait_until(lambda: grown.runs("nanjing") == sorted(kept), timeout_s=PATIENCE_S)


def test_labels_and_draining_outlast_a_kill(grown: Tree) -> None:
    root = _two(grown)
    changes = {"labels": {"disk": "fast", "city": None}}
    assert root.http.patch("/api/nodes/nanjing/labels", json=changes).status_code == 200
    assert root.http.post("/api/nodes/nanjing/drain").status_code == 200
    grown.agents["nanjing"].kill()
    grown.agents["nanjing"].restart()
    seen = grown.wait_seen("jiangsu", "nanjing", lambda it: bool(it["status"] == "draining"))
    assert seen["labels"] == {"disk": "fast"}
    waiting = root.process("sleep", "600", requirements={"cpu": 1})
    assert waiting["status"] == "pending"
    assert root.http.post("/api/nodes/nanjing/undrain").status_code == 200
    assert root.wait_status(waiting["id"], "running")["node_id"] == "nanjing"


def test_work_is_given_to_a_host_after_each_of_its_starts(grown: Tree) -> None:
    """What the owner knows of the node before is void; each start counts as another incarnation."""
    root = _two(grown)
    for _ in range(3):
        body = root.process("sleep", "600", requirements={"cpu": 4})
        assert root.wait_status(body["id"], "running")["node_id"] == "nanjing"
        grown.agents["nanjing"].kill()
        grown.agents["nanjing"].restart()
        grown.linked("jiangsu", "nanjing")
        assert root.http.delete(f"/api/workloads/{body['id']}").status_code == 200
        grown.wait_bare("nanjing")
        grown.wait_current("jiangsu")


def test_two_agents_of_one_name(grown: Tree) -> None:
    root = _two(grown)
    running = root.process("sleep", "600", requirements={"cpu": 1})
    twin = grown.start(
        "nanjing-2", parent="jiangsu", resources=room(8), agent={"node_id": "nanjing"}
    )
    second_of_the_name = grown.agents.pop("nanjing-2")
    grown.nodes.pop("nanjing-2")
    try:
        wait_until(
            lambda: "another agent called nanjing is linked already" in second_of_the_name.log(),
            timeout_s=PATIENCE_S,
            what=second_of_the_name.log,
        )
        _stays_what_it_is(grown, root, running)
        assert twin.used() == NOTHING
    finally:
        second_of_the_name.stop()


def _stays_what_it_is(grown: Tree, root: Node, running: Json) -> None:
    seen = grown.seen("jiangsu", "nanjing")
    assert seen is not None and seen["total"]["cpu"] == 4
    assert root.get(running["id"])["status"] == "running"
    another = root.process("sleep", "600", requirements={"cpu": 1})
    assert (another["status"], another["node_id"]) == ("running", "nanjing")


@pytest.mark.parametrize("wanted", [True, False])
def test_work_of_others_when_an_agent_ends(grown: Tree, wanted: bool) -> None:
    grown.launch("jiangsu", resources=room(0))
    setting = {"stop_workloads_on_exit": wanted}
    grown.launch("nanjing", parent="jiangsu", resources=room(4), agent=setting)
    grown.wait_healthy()
    grown.linked("jiangsu", "nanjing")
    root = grown["jiangsu"]
    body = root.submit(process_spec("sleep", "600", requirements={"cpu": 1}))
    assert body["status"] == "running"
    assert grown.agents["nanjing"].terminate() == 0
    assert alive(body["pid"]) is not wanted
    grown.agents["nanjing"].restart()
    grown.linked("jiangsu", "nanjing")
    after = root.wait(body["id"], lambda it: it["status_reason"] != "node_unreachable")
    assert after["status"] == ("stopped" if wanted else "running"), after


def test_the_owner_stops_only_its_own_node_s_work_when_it_ends(grown: Tree) -> None:
    root = _two(grown, agent={"stop_workloads_on_exit": True})
    body = root.process("sleep", "600", requirements={"cpu": 1})
    assert grown.agents["jiangsu"].terminate() == 0
    assert alive(body["pid"])
    grown.agents["jiangsu"].restart()
    grown.linked("jiangsu", "nanjing")
    assert root.wait_status(body["id"], "running")["pid"] == body["pid"]
