"""Labels, draining, kinds, plans: where work goes, and that a plan says what is then done."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.api.node import Json, Node, process_spec, refused
from tests.contracts import sample_plugin
from tests.support.agents import alive
from tests.tree.trees import NOTHING, Tree, room

CITIES = ("jiangsu", "nanjing", "suqian", "changzhou")


def _sleeper(**fields: Any) -> Json:
    return process_spec("sleep", "600", **fields)


def _plan(node: Node, spec: Json) -> Json:
    return Node.json(node.http.post("/api/plan", json=spec))


def _lands(node: Node, spec: Json) -> str:
    """Submit it; the node it runs on."""
    body = node.submit(spec)
    assert body["status"] == "running", body
    where: str = body["node_id"]
    return where


def _waits(node: Node, spec: Json) -> Json:
    body = node.submit(spec)
    assert (body["status"], body["status_reason"]) == ("pending", "no_capacity"), body
    return body


def _label(tree: Tree, name: str, labels: dict[str, str | None], at: str = "jiangsu") -> None:
    reply = tree[at].http.patch(f"/api/nodes/{name}/labels", json={"labels": labels})
    assert reply.status_code == 200, reply.text


# --- affinity ------------------------------------------------------------------------------------


@pytest.mark.parametrize("city", CITIES)
def test_a_label_that_the_node_must_have(tree: Tree, city: str) -> None:
    spec = _sleeper(affinity=[{"node_labels": {"city": city}}])
    assert _lands(tree["jiangsu"], spec) == city


def test_labels_that_the_node_must_not_have(tree: Tree) -> None:
    terms = [{"node_labels": {"city": city}} for city in ("jiangsu", "nanjing", "suqian")]
    assert _lands(tree["jiangsu"], _sleeper(anti_affinity=terms)) == "changzhou"
    spec = _sleeper(anti_affinity=[{"node_labels": {"city": "*"}}])
    waiting = _waits(tree["jiangsu"], spec)
    assert all(city in waiting["status_detail"] for city in CITIES)


def test_a_label_that_is_preferred(tree: Tree) -> None:
    term = {"node_labels": {"city": "suqian"}, "required": False, "weight": 10}
    assert _lands(tree["jiangsu"], _sleeper(affinity=[term])) == "suqian"
    # Where it does not fit there, another node will do.
    tree["jiangsu"].process("sleep", "600", node="suqian", requirements={"cpu": 4})
    assert _lands(tree["jiangsu"], _sleeper(affinity=[term], requirements={"cpu": 1})) != "suqian"


def test_together_with_other_workloads(tree: Tree) -> None:
    root = tree["jiangsu"]
    _lands(root, _sleeper(node="suqian", labels={"app": "db"}))
    spec = _sleeper(affinity=[{"workload_labels": {"app": "db"}}])
    tree.wait_current("jiangsu")
    assert _lands(root, spec) == "suqian"
    apart = _sleeper(anti_affinity=[{"workload_labels": {"app": "db"}}])
    assert _lands(root, apart) != "suqian"


def test_each_replica_on_a_node_of_its_own(tree: Tree) -> None:
    """The next one is placed before the last one's node has told of it."""
    root = tree["jiangsu"]
    spec = _sleeper(labels={"app": "web"}, anti_affinity=[{"workload_labels": {"app": "web"}}])
    found = [root.submit(spec, wait="false") for _ in range(5)]
    states = [
        root.wait(it["id"], lambda it: it["status_reason"] in {None, "no_capacity"}) for it in found
    ]
    placed = sorted(it["node_id"] for it in states if it["status"] == "running")
    assert placed == sorted(CITIES), [(it["node_id"], it["status"]) for it in states]
    waiting = next(it for it in states if it["status"] == "pending")
    freed = next(it for it in states if it["node_id"] == "suqian")
    root.stop(freed["id"])
    assert root.wait_status(waiting["id"], "running")["node_id"] == "suqian"


def test_a_label_given_at_run_time_places_what_waits_for_it(tree: Tree) -> None:
    root = tree["jiangsu"]
    waiting = _waits(root, _sleeper(affinity=[{"node_labels": {"disk": "fast"}}]))
    why = Node.json(root.http.get(f"/api/workloads/{waiting['id']}/why"))
    assert why["candidates"] == [] and len(why["rejections"]) == 4
    assert all("disk" in str(it["reasons"]) for it in why["rejections"]), why
    _label(tree, "changzhou", {"disk": "fast"})
    placed = root.wait_status(waiting["id"], "running")
    assert placed["node_id"] == "changzhou"
    # Taking the label away moves nothing that runs, and admits nothing new.
    _label(tree, "changzhou", {"disk": None})
    tree.wait_current("jiangsu")
    assert alive(placed["pid"]) and root.get(placed["id"])["status"] == "running"
    _waits(root, _sleeper(affinity=[{"node_labels": {"disk": "fast"}}]))


# --- draining ------------------------------------------------------------------------------------


def test_a_drained_node_keeps_what_it_has_and_takes_no_more(tree: Tree) -> None:
    root = tree["jiangsu"]
    running = root.process("sleep", "600", node="suqian")
    assert root.http.post("/api/nodes/suqian/drain").status_code == 200
    try:
        tree.wait_seen("jiangsu", "suqian", lambda it: bool(it["status"] == "draining"))
        waiting = _waits(root, _sleeper(node="suqian"))
        assert "suqian: draining" in waiting["status_detail"]
        own = tree["suqian"].submit(_sleeper(), wait="false")
        wanted = {"cpu": 3}
        assert _lands(root, _sleeper(requirements=wanted)) == "nanjing"
        assert alive(running["pid"])
        assert tree["suqian"].get(running["id"])["status"] == "running"
    finally:
        assert root.http.post("/api/nodes/suqian/undrain").status_code == 200
    assert root.wait_status(waiting["id"], "running")["node_id"] == "suqian"
    # Its own agent gives work away as well while it is drained.
    assert tree["suqian"].wait_status(own["id"], "running")["node_id"] == "nanjing"


def test_drained_before_the_request_comes(tree: Tree) -> None:
    """The owner has not heard of it yet: the host refuses, and it goes elsewhere."""
    for _ in range(5):
        tree["nanjing"].http.post("/api/nodes/nanjing/drain")
        body = tree["jiangsu"].submit(_sleeper(requirements={"cpu": 2}))
        tree["nanjing"].http.post("/api/nodes/nanjing/undrain")
        found = tree["jiangsu"].wait_status(body["id"], "running")
        assert found["node_id"] in {"suqian", "changzhou"}, found
        tree.clean()


# --- kinds ---------------------------------------------------------------------------------------


@pytest.fixture
def with_shell(tmp_path: Path, grown: Tree) -> Tree:
    """Only the child of the child has the kind `shell`."""
    site = tmp_path / "site"
    info = site / "cnet_shell-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(sample_plugin.__file__, site / "cnet_shell.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cnet-shell\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[cnet.executors]\nshell = cnet_shell:make\n")
    paths = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    grown.launch("jiangsu", resources=room(4))
    grown.launch("nanjing", parent="jiangsu", resources=room(4))
    grown.launch("gaochun", parent="nanjing", resources=room(4), environ={"PYTHONPATH": paths})
    grown.wait_healthy()
    grown.linked("jiangsu", "nanjing", "gaochun")
    grown.wait_seen("jiangsu", "gaochun", lambda it: "shell" in it["kinds"])
    return grown


def test_a_kind_that_only_one_node_has(with_shell: Tree) -> None:
    root = with_shell["jiangsu"]
    spec = {"name": "far", "type": "shell", "config": {"script": "echo from afar"}}
    assert _plan(root, spec)["node"] == "gaochun"
    body = root.submit(spec)
    assert body["node_id"] == "gaochun"
    root.wait_status(body["id"], "completed")
    assert root.logs(body["id"]) == ["from afar"]
    wrong = root.submit({**spec, "config": {"scripd": "true"}}, wait="false")
    seen = root.wait(wrong["id"], lambda it: it["status_reason"] != "delegating")
    assert "config.scripd" in str(seen["status_detail"]), seen
    refused(
        root.http.post("/api/workloads", json={**spec, "type": "nosuch"}),
        422,
        "invalid_field",
        field="type",
    )


def test_a_user_that_nobody_has(tree: Tree) -> None:
    spec = _sleeper(run_as="no-such-user", node="jiangsu")
    refused(
        tree["jiangsu"].http.post("/api/workloads", json=spec),
        422,
        "invalid_field",
        field="run_as",
    )


# --- plans ---------------------------------------------------------------------------------------


def _random_spec(rng: random.Random) -> Json:
    fields: dict[str, Any] = {
        "requirements": {
            "cpu": rng.choice([0, 0.25, 0.5, 1, 2, 3]),
            "memory": rng.choice([0, 2**20, 2**30, 3 * 2**30]),
        },
        "labels": {"app": rng.choice("xyz")},
    }
    if rng.random() < 0.5:
        fields["strategy"] = rng.choice(["default", "best_fit", "least_loaded", "spread"])
    if rng.random() < 0.2:
        fields["node"] = rng.choice(CITIES)
    if rng.random() < 0.3:
        fields["affinity"] = [_random_term(rng)]
    if rng.random() < 0.3:
        fields["anti_affinity"] = [_random_term(rng)]
    return _sleeper(**fields)


def _random_term(rng: random.Random) -> Json:
    term: Json = {"required": rng.random() < 0.5, "weight": rng.randint(1, 10)}
    if rng.random() < 0.5:
        term["node_labels"] = {"city": rng.choice(CITIES)}
    else:
        term["workload_labels"] = {"app": rng.choice("xyz")}
    return term


@pytest.mark.timeout(300)
def test_what_is_planned_is_done(tree: Tree) -> None:
    """200 cases, each on a tree where nothing else happens."""
    rng = random.Random(20260101)
    compared = waiting = 0
    while compared < 200:
        at = rng.choice(CITIES)
        spec = _random_spec(rng)
        lists = {name: len(tree.listed(name)) for name in CITIES}
        planned = _plan(tree[at], spec)
        assert lists == {name: len(tree.listed(name)) for name in CITIES}, "a plan does nothing"
        if planned["impossible"]:
            refused(tree[at].http.post("/api/workloads", json=spec), 409, "no_capacity")
            continue
        body = tree[at].submit(spec)
        if planned["node"] is None:
            assert body["status"] == "pending", (planned, body)
            for rejection in planned["rejections"]:
                for reason in rejection["reasons"]:
                    assert reason in body["status_detail"], (reason, body["status_detail"])
            waiting += 1
            tree[at].http.delete(f"/api/workloads/{body['id']}")
        else:
            assert (body["status"], body["node_id"]) == ("running", planned["node"]), (
                spec,
                planned,
                body,
            )
        compared += 1
        if rng.random() < 0.15:
            tree.clean()
        else:
            for name in CITIES:
                tree.wait_current(name)
    assert min(waiting, compared - waiting) > 10, "both kinds of plan are to be compared"


def test_why_not_names_every_constraint(tree: Tree) -> None:
    root = tree["jiangsu"]
    root.process("sleep", "600", node="suqian", requirements={"cpu": 3})
    tree.wait_current("jiangsu")
    spec = _sleeper(
        requirements={"cpu": 2, "memory": 2**40},
        affinity=[{"node_labels": {"city": "nanjing"}}],
        node="nanjing",
    )
    planned = _plan(root, spec)
    assert planned["node"] is None and planned["impossible"]
    reasons = {it["node_id"]: "; ".join(it["reasons"]) for it in planned["rejections"]}
    assert set(reasons) == set(CITIES)
    assert "memory" in reasons["nanjing"] and "not the node asked for" not in reasons["nanjing"]
    for word in ("not the node asked for", "city", "cpu", "memory"):
        assert word in reasons["suqian"], reasons["suqian"]
    assert "not the node asked for" in reasons["changzhou"] and "cpu" not in reasons["changzhou"]
    assert root.used() == NOTHING
