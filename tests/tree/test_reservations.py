"""Room held on a node, and taken by the workload that names the reservation."""

from __future__ import annotations

import uuid

import pytest

from tests.api.node import Json, process_spec, refused
from tests.support.agents import wait_until
from tests.tree.trees import NOTHING, PATIENCE_S, Tree


def _reservation(where: str, cpu: float, seconds: float = 600) -> Json:
    return {
        "name": "held",
        "type": "reservation",
        "config": {"seconds": seconds},
        "requirements": {"cpu": cpu},
        "node": where,
    }


def _reserve(tree: Tree, where: str, cpu: float) -> Json:
    body = tree["jiangsu"].submit(_reservation(where, cpu))
    assert (body["status"], body["node_id"]) == ("running", where)
    assert tree[where].used()["cpu"] == cpu
    return body


def _claim(held: Json, cpu: float, **fields: object) -> Json:
    return process_spec("sleep", "600", requirements={"cpu": cpu}, reservation=held["id"], **fields)


@pytest.mark.parametrize("where", ["jiangsu", "nanjing", "suqian"])
def test_the_claim_takes_exactly_that_room(tree: Tree, where: str) -> None:
    root = tree["jiangsu"]
    cores = 1 if where == "jiangsu" else 4
    held = _reserve(tree, where, cores)
    tree.wait_current("jiangsu")
    other = root.process("sleep", "600", node=where, requirements={"cpu": cores})
    assert other["status"] == "pending", "others have no use of that room"
    claiming = root.submit(_claim(held, cores))
    assert (claiming["status"], claiming["node_id"]) == ("running", where), claiming
    assert tree[where].used()["cpu"] == cores
    over = root.wait(held["id"], lambda it: it["status"] in {"stopped", "completed"})
    assert over["status_reason"] in {"claimed", "stopped_by_user"}
    assert root.get(other["id"])["status"] == "pending"
    root.stop(claiming["id"])
    assert root.wait_status(other["id"], "running")["node_id"] == where


@pytest.mark.parametrize("where", ["nanjing", "suqian"])
def test_a_smaller_claim_leaves_the_rest_to_others(tree: Tree, where: str) -> None:
    root = tree["jiangsu"]
    held = _reserve(tree, where, 4)
    claiming = root.submit(_claim(held, 1))
    assert (claiming["status"], claiming["node_id"]) == ("running", where)
    wait_until(lambda: tree[where].used()["cpu"] == 1, timeout_s=PATIENCE_S)


def test_one_that_is_over_or_was_never_made(tree: Tree) -> None:
    root = tree["jiangsu"]
    spec = process_spec("true", reservation=str(uuid.uuid4()))
    refused(root.http.post("/api/workloads", json=spec), 422, "invalid_field", field="reservation")
    ordinary = root.process("sleep", "600")
    spec = process_spec("true", reservation=ordinary["id"])
    refused(root.http.post("/api/workloads", json=spec), 422, "invalid_field", field="reservation")
    held = root.submit(_reservation("suqian", 4, seconds=0.2))
    over = root.wait_status(held["id"], "completed")
    assert over["id"] == held["id"]
    refused(
        root.http.post("/api/workloads", json=_claim(held, 1)), 409, "conflict", says=held["id"]
    )
    wait_until(lambda: tree["suqian"].used() == NOTHING, timeout_s=PATIENCE_S)


def test_a_second_claim_comes_too_late(tree: Tree) -> None:
    root = tree["jiangsu"]
    held = _reserve(tree, "suqian", 2)
    assert root.submit(_claim(held, 2))["status"] == "running"
    root.wait(held["id"], lambda it: it["status"] in {"stopped", "completed"})
    refused(
        root.http.post("/api/workloads", json=_claim(held, 2)), 409, "conflict", says=held["id"]
    )


@pytest.mark.parametrize("restarted", ["jiangsu", "suqian"], ids=["owner", "host"])
def test_over_a_restart_of_an_agent(tree: Tree, restarted: str) -> None:
    root = tree["jiangsu"]
    held = _reserve(tree, "suqian", 4)
    tree.agents[restarted].kill()
    tree.agents[restarted].restart()
    tree.linked("jiangsu", "nanjing", "suqian", "changzhou")
    assert root.wait_status(held["id"], "running")["node_id"] == "suqian"
    claiming = root.submit(_claim(held, 4))
    claiming = root.wait_status(claiming["id"], "running")
    assert claiming["node_id"] == "suqian"
    assert tree["suqian"].used()["cpu"] == 4
