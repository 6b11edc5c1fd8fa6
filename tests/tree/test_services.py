"""Services over several agents: any of them answers, one owns, and none is asked in vain."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.api.node import Json, Node
from tests.support.agents import wait_until
from tests.support.traffic import Traffic, model
from tests.tree.trees import PATIENCE_S, Tree, room


def asked(node: Node, method: str, path: str, body: Json | None = None, status: int = 200) -> Json:
    reply = node.http.request(method, f"/api/services{path}", json=body, timeout=300)
    assert reply.status_code == status, reply.text
    return node.json(reply)


def template(folder: Path, number: int, **fields: Any) -> Json:
    config = {"model_type": "custom", "model_path": model(folder, number)}
    return {"type": "mlmodel", "config": config, "requirements": {"cpu": 0.1}, **fields}


def known(node: Node, name: str, condition: Any) -> None:
    """Wait until a node knows a service to be so."""
    last: list[Any] = []

    def met() -> bool:
        last[:] = [each for each in asked(node, "GET", "")["services"] if each["name"] == name]
        return bool(last) and bool(condition(last[0]))

    wait_until(met, timeout_s=PATIENCE_S, what=lambda: str(last))


@pytest.fixture
def spread(tree: Tree, tmp_path: Path) -> Iterator[Tree]:
    """The four cities, with three replicas of model 0 as `m` of nanjing, on several nodes."""
    body = {"name": "m", "template": template(tmp_path, 0, strategy="spread"), "replicas": 3}
    made = asked(tree["nanjing"], "POST", "", body, 201)
    hosts = {each["node_id"] for each in made["instances"]}
    assert (made["owner"], made["ready"]) == ("nanjing", 3) and len(hosts) > 1, made
    known(tree["jiangsu"], "m", lambda it: it["ready"] == 3)
    known(tree["suqian"], "m", lambda it: it["ready"] >= 1)  # of changzhou it knows nothing
    yield tree
    asked(tree["nanjing"], "DELETE", "/m")


def test_changes_at_steady_load_through_agents_that_do_not_own_it(
    spread: Tree, tmp_path: Path
) -> None:
    tree = spread
    with ExitStack() as stack:
        loads = [
            stack.enter_context(Traffic(tree.agents[name].url, "m", clients=2))
            for name in ("jiangsu", "suqian")
        ]

        def more(count: int) -> None:
            for load in loads:
                load.until(more=count)

        more(100)
        new = {"template": template(tmp_path, 1, strategy="spread")}
        updated = asked(tree["changzhou"], "PUT", "/m", new)
        assert (updated["status"], updated["traffic"]) == ("ready", {"v2": 100})
        more(200)
        assert asked(tree["jiangsu"], "PUT", "/m/scale", {"replicas": 1})["ready"] == 1
        more(100)
        assert asked(tree["suqian"], "PUT", "/m/scale", {"replicas": 3})["ready"] == 3
        more(100)
        for name in ("suqian", "nanjing"):
            for each in tree.listed(name):
                if each["node_id"] == name and each["status"] == "running":
                    psutil.Process(each["process_pid"]).send_signal(signal.SIGKILL)
            more(200)
    for load in loads:
        assert load.failed == []
        assert load.answers[0] and load.answers[1]
    shown = asked(tree["jiangsu"], "GET", "/m")
    counted = sum(each["metrics"]["requests"] for each in shown["versions"] if each["metrics"])
    assert counted >= sum(load.answers.total() for load in loads), "repeated ones count twice"
    all_ready = 'cnet_service_replicas_ready{service="m",version="v2"} 3.0'
    wait_until(
        lambda: all_ready in tree["jiangsu"].http.get("/metrics").text,
        timeout_s=PATIENCE_S,
        what=lambda: tree["jiangsu"].http.get("/metrics").text,
    )


def test_one_name_belongs_to_one_owner(spread: Tree, tmp_path: Path) -> None:
    body = {"name": "m", "template": template(tmp_path, 2)}
    refused = asked(spread["jiangsu"], "POST", "", body, 409)
    assert "nanjing owns it" in refused["details"]
    summary = next(it for it in asked(spread["jiangsu"], "GET", "")["services"])
    assert (summary["owner"], summary["status"]) == ("nanjing", "ready")
    assert "there are: m" in asked(spread["suqian"], "GET", "/nobody", status=404)["details"]


def test_a_model_that_is_missing_is_told_as_for_a_workload(tree: Tree) -> None:
    config = {"model_type": "custom", "model_path": "/no/such/model.py"}
    spec = {"type": "mlmodel", "config": config, "requirements": {"cpu": 0.1}, "node": "nanjing"}
    plain = tree["nanjing"].http.post("/api/workloads", json={**spec, "name": "m"})
    assert plain.status_code == 422 and "not a file on this node" in plain.text
    refused = asked(tree["nanjing"], "POST", "", {"name": "m", "template": spec}, 422)
    assert refused["details"] == f"template.{plain.json()['details']}"
    spec["node"] = "suqian"  # which alone can tell
    made = asked(tree["nanjing"], "POST", "", {"name": "m", "template": spec}, 201)
    assert (made["status"], made["status_reason"]) == ("starting", "no_capacity")
    assert "suqian: has refused it: config.model_path" in made["status_detail"]


def test_a_request_anywhere_wakes_a_service_of_none(tree: Tree, tmp_path: Path) -> None:
    body = {"name": "sleepy", "template": template(tmp_path, 3), "replicas": 0}
    body["autoscale"] = {"min": 0, "max": 1}
    assert asked(tree["nanjing"], "POST", "", body, 201)["status"] == "idle"
    known(tree["jiangsu"], "sleepy", lambda it: it["owner"] == "nanjing")
    reply = tree["jiangsu"].http.post("/services/sleepy/predict", json={"inputs": [1]})
    assert (reply.status_code, reply.json().get("outputs")) == (200, 3), reply.text
    asked(tree["jiangsu"], "DELETE", "/sleepy")


def test_replicas_serve_on_while_their_owner_is_away(grown: Tree, tmp_path: Path) -> None:
    tree = grown
    tree.launch("owner", resources=room(0.05))
    tree.launch("host", peers=("owner",), resources=room(4))
    tree.wait_healthy()
    tree.linked("owner", "host")
    tree.linked("host", "owner")
    body = {"name": "m", "template": template(tmp_path, 0), "replicas": 2}
    made = asked(tree["owner"], "POST", "", body, 201)
    assert {each["node_id"] for each in made["instances"]} == {"host"}, made
    known(tree["host"], "m", lambda it: it["ready"] == 2)
    with Traffic(tree.agents["host"].url, "m", clients=2) as traffic:
        traffic.until(more=50)
        tree.agents["owner"].kill()
        traffic.until(more=100)
        tree.wait_seen("host", "owner", lambda it: bool(it["status"] == "unreachable"))
        refused = asked(tree["host"], "GET", "/m", status=503)
        assert refused["error"] == "node_unreachable" and "belongs to owner" in refused["details"]
        traffic.until(more=100)
        tree.agents["owner"].restart()
        tree.linked("host", "owner")
        wait_until(
            lambda: asked(tree["host"], "GET", "/m")["status"] == "ready",
            timeout_s=PATIENCE_S,
            what=lambda: str(asked(tree["host"], "GET", "/m")),
        )
        shown = asked(tree["host"], "PUT", "/m", {"template": template(tmp_path, 1)})
        assert shown["traffic"] == {"v2": 100}
        ids = {each["workload_id"] for each in made["instances"]}
        assert not ids & {each["workload_id"] for each in shown["instances"]}
        traffic.until(more=100)
    assert traffic.failed == [] and traffic.answers[1]
    asked(tree["host"], "DELETE", "/m")
