"""What each agent of a small tree tells of the nodes, and what can be changed about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.api.node import Json, Node, process_spec, refused
from tests.support.agents import AgentProcess, start_agent, wait_until

GIB = 1024**3
ROOM = {"cpu": 2, "gpu": 0, "memory": 4 * GIB, "storage": 10 * GIB}
OLD = {
    "node_id": "old",
    "resources": {
        "node_id": "old",
        "node_type": "local",
        "total": {"cpu": 4, "gpu": 1, "memory": GIB, "storage": 0},
        "available": {"cpu": 1.5, "gpu": 1, "memory": GIB, "storage": 0},
        "used": {"cpu": 2.5, "gpu": 0, "memory": 0, "storage": 0},
        "last_updated": "2025-01-02T03:04:05.123456789Z",
        "status": "active",
        "address": "192.168.1.7:8080",
        "metadata": {"os": "linux"},
    },
}
"""As agents of the generation before send it."""


@dataclass
class Tree:
    """jiangsu over nanjing over gaochun; suqian is a peer of nanjing."""

    agents: dict[str, AgentProcess]
    nodes: dict[str, Node]

    def at(self, name: str) -> Node:
        return self.nodes[name]

    def seen(self, at: str, node_id: str) -> Json | None:
        """A node as another tells of it."""
        reply = self.at(at).http.get(f"/api/nodes/{node_id}")
        return None if reply.status_code == 404 else Node.json(reply)

    def wait(self, at: str, node_id: str, condition: Callable[[Json], bool]) -> Json:
        """A node in the view of `at`, once it is like this."""
        last: list[Json | None] = []

        def met() -> bool:
            last[:] = [self.seen(at, node_id)]
            return last[0] is not None and condition(last[0])

        wait_until(met, timeout_s=20, what=lambda: f"{node_id} at {at}: {last}")
        assert last[0] is not None
        return last[0]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    with ExitStack() as stack:
        agents: dict[str, AgentProcess] = {}
        nodes: dict[str, Node] = {}

        def start(name: str, **config: Any) -> None:
            folder: Path = tmp_path_factory.mktemp(name)
            agents[name] = start_agent(
                folder,
                agent={"node_id": name, "labels": {"city": name}},
                resources=ROOM,
                **config,
            )
            stack.callback(agents[name].stop)
            nodes[name] = stack.enter_context(Node(agents[name]))

        def address(name: str) -> str:
            return agents[name].url.removeprefix("http://")

        start("jiangsu")
        start("suqian")
        start(
            "nanjing",
            parent={"enabled": True, "address": address("jiangsu")},
            peers={"enabled": True, "addresses": [address("suqian")]},
        )
        start("gaochun", parent={"enabled": True, "address": address("nanjing")})
        found = Tree(agents, nodes)
        for at, others in (
            ("jiangsu", ("nanjing", "gaochun", "suqian")),
            ("nanjing", ("jiangsu", "gaochun", "suqian")),
            ("gaochun", ("nanjing",)),
            ("suqian", ("nanjing",)),
        ):
            for node_id in others:
                found.wait(at, node_id, lambda it: bool(it["status"] == "active"))
        yield found


def _names(nodes: list[Json]) -> list[str]:
    return [node["node_id"] for node in nodes]


def test_the_root_sees_the_whole_tree(tree: Tree) -> None:
    tree.wait("jiangsu", "gaochun", lambda it: bool(it["parent_id"] == "nanjing"))
    tree.wait("jiangsu", "nanjing", lambda it: bool(it["peers"] == ["suqian"]))
    body = Node.json(tree.at("jiangsu").http.get("/api/nodes"))
    assert (body["node_id"], body["count"], body["total"]) == ("jiangsu", 4, 4)
    assert _names(body["nodes"]) == ["jiangsu", "gaochun", "nanjing", "suqian"]
    assert body["parent"] is None and body["next_cursor"] is None
    assert (_names(body["children"]), body["peers"]) == (["nanjing"], [])
    places = {
        node["node_id"]: (node["node_type"], node["depth"], node["hops"], node["via"])
        for node in body["nodes"]
    }
    assert places == {
        "jiangsu": ("local", 0, 0, None),
        "nanjing": ("child", 1, 1, "nanjing"),
        "gaochun": ("child", 2, 2, "nanjing"),
        "suqian": ("peer", 0, 2, "nanjing"),
    }
    for node in body["nodes"]:
        assert node["total"] == node["available"] == ROOM
        assert not any(node["used"].values())
        assert node["status"] == "active"
        assert node["labels"] == {"city": node["node_id"]}
        assert "process" in node["kinds"]
        assert node["workloads"] == 0


def test_others_see_what_concerns_them(tree: Tree) -> None:
    body = Node.json(tree.at("nanjing").http.get("/api/nodes"))
    assert body["parent"]["node_id"] == "jiangsu"
    assert body["parent"]["total"] == ROOM
    assert (_names(body["children"]), _names(body["peers"])) == (["gaochun"], ["suqian"])
    stats = Node.json(tree.at("nanjing").http.get("/api/resources/stats"))
    assert (stats["child_nodes_count"], stats["peer_nodes_count"]) == (1, 1)
    assert tree.seen("gaochun", "jiangsu") is None
    assert tree.seen("suqian", "gaochun") is None


def test_a_page_at_a_time(tree: Tree) -> None:
    http = tree.at("jiangsu").http
    first = Node.json(http.get("/api/nodes", params={"limit": 2}))
    assert _names(first["nodes"]) == ["jiangsu", "gaochun"]
    assert (first["count"], first["total"], first["next_cursor"]) == (2, 4, "gaochun")
    second = Node.json(http.get("/api/nodes", params={"limit": 2, "cursor": "gaochun"}))
    assert _names(second["nodes"]) == ["nanjing", "suqian"]
    assert second["next_cursor"] is None
    alone = Node.json(http.get("/api/nodes", params={"limit": 1}))
    assert (_names(alone["nodes"]), alone["next_cursor"]) == (["jiangsu"], "jiangsu")
    rest = Node.json(http.get("/api/nodes", params={"cursor": "jiangsu"}))
    assert _names(rest["nodes"]) == ["nanjing", "suqian"]
    for limit in ("0", "1001", "x"):
        refused(http.get("/api/nodes", params={"limit": limit}), 422, "invalid_field")


def test_what_a_workload_holds_is_seen_from_afar(tree: Tree) -> None:
    gaochun = tree.at("gaochun")
    held = gaochun.process("sleep", "60", requirements={"cpu": 1.5})
    far = tree.wait("jiangsu", "gaochun", lambda it: bool(it["used"]["cpu"] == 1.5))
    assert (far["available"]["cpu"], far["workloads"]) == (0.5, 1)
    gaochun.stop(held["id"])
    tree.wait("jiangsu", "gaochun", lambda it: not any(it["used"].values()))
    gaochun.delete_all()


def test_drain_and_undrain_from_the_root(tree: Tree) -> None:
    root = tree.at("jiangsu").http
    reply = root.post("/api/nodes/gaochun/drain")
    assert reply.status_code == 200, reply.text
    assert Node.json(reply)["node"]["status"] == "draining"
    tree.wait("jiangsu", "gaochun", lambda it: bool(it["status"] == "draining"))
    local = Node.json(tree.at("gaochun").http.get("/api/nodes/local"))
    assert local["status"] == "draining"
    spec = process_spec("sleep", "60", queue=False)
    refused(tree.at("gaochun").http.post("/api/workloads", json=spec), 409, "no_capacity")
    assert root.post("/api/nodes/gaochun/undrain").status_code == 200
    tree.wait("jiangsu", "gaochun", lambda it: bool(it["status"] == "active"))


def test_labels_are_changed_from_anywhere(tree: Tree) -> None:
    root = tree.at("jiangsu").http
    for node_id in ("jiangsu", "gaochun", "suqian"):
        path = f"/api/nodes/{node_id}/labels"
        reply = root.patch(path, json={"labels": {"zone": "东", "city": None}})
        assert reply.status_code == 200, reply.text
        assert Node.json(reply)["node"]["labels"] == {"zone": "东"}
        tree.wait("jiangsu", node_id, lambda it: bool(it["labels"] == {"zone": "东"}))
        root.patch(path, json={"labels": {"zone": None, "city": node_id}})
        tree.wait("jiangsu", node_id, lambda it: "zone" not in it["labels"])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"labels": {}},
        {"labels": []},
        {"labels": {"": "x"}},
        {"labels": {"a=b": "x"}},
        {"labels": {"a": 1}},
        {"labels": {"a": "\n"}},
        {"labels": {"a": "x" * 254}},
        {"labels": {"a": "x"}, "more": 1},
        {"labels": {str(number): "x" for number in range(65)}},
    ],
)
@pytest.mark.parametrize("node_id", ["jiangsu", "nanjing"])
def test_wrong_labels(tree: Tree, node_id: str, body: Json) -> None:
    reply = tree.at("jiangsu").http.patch(f"/api/nodes/{node_id}/labels", json=body)
    refused(reply, 422, "invalid_field")


def test_unknown_nodes(tree: Tree) -> None:
    http = tree.at("gaochun").http
    refused(http.get("/api/nodes/nowhere"), 404, "not_found", says="nowhere")
    refused(http.post("/api/nodes/nowhere/drain"), 404, "not_found", says="nowhere")
    refused(http.post("/api/nodes/jiangsu/undrain"), 404, "not_found", says="jiangsu")
    labels = {"labels": {"a": "b"}}
    refused(http.patch("/api/nodes/nowhere/labels", json=labels), 404, "not_found")


def test_an_agent_that_ends_is_unreachable_and_comes_back(tree: Tree) -> None:
    tree.agents["gaochun"].kill()
    lost = tree.wait("jiangsu", "gaochun", lambda it: bool(it["status"] == "unreachable"))
    assert (lost["node_type"], lost["depth"]) == ("child", 2)
    reply = tree.at("jiangsu").http.post("/api/nodes/gaochun/drain")
    assert reply.status_code == 503, reply.text
    assert reply.headers["retry-after"]
    tree.agents["gaochun"].restart()
    tree.nodes["gaochun"] = Node(tree.agents["gaochun"])
    tree.wait("jiangsu", "gaochun", lambda it: bool(it["status"] == "active"))


def test_nodes_that_register_over_http_are_shown_and_given_nothing(tree: Tree) -> None:
    root = tree.at("jiangsu").http
    refused(root.post("/api/heartbeat", json=OLD), 404, "not_found", says="old")
    body = Node.json(root.post("/api/register", json=OLD))
    address = tree.agents["jiangsu"].url.removeprefix("http://")
    assert body["parent_node"] == {"node_id": "jiangsu", "address": address}
    old = tree.seen("jiangsu", "old")
    assert old is not None
    assert (old["node_type"], old["status"], old["parent_id"]) == ("child", "active", "jiangsu")
    assert (old["available"]["cpu"], old["used"]["cpu"]) == (1.5, 2.5)
    assert (old["address"], old["metadata"]) == ("192.168.1.7:8080", {"os": "linux"})
    assert "old" in _names(Node.json(root.get("/api/nodes"))["children"])
    busy = {**OLD, "resources": {"total": {"cpu": 4}, "available": {"cpu": 0}}}
    assert root.post("/api/heartbeat", json=busy).status_code == 200
    old = tree.seen("jiangsu", "old")
    assert old is not None and old["used"]["cpu"] == 4
    refused(root.post("/api/nodes/old/drain"), 409, "conflict", says="no link")
    spec = process_spec("sleep", "60", node="old", queue=False)
    assert root.post("/api/workloads", json=spec).status_code == 409
    assert root.post("/api/unregister", json={"node_id": "old"}).status_code == 200
    assert tree.seen("jiangsu", "old") is None
    refused(root.post("/api/unregister", json={"node_id": "old"}), 404, "not_found")


def test_peers_register_too(tree: Tree) -> None:
    root = tree.at("jiangsu").http
    assert root.post("/api/peer/register", json=OLD).status_code == 200
    stats = Node.json(root.get("/api/resources/stats"))
    assert stats["peer_nodes_count"] == 1
    assert root.post("/api/peer/unregister", json={"node_id": "old"}).status_code == 200


@pytest.mark.parametrize("node_id", ["jiangsu", "nanjing", "gaochun"])
def test_linked_nodes_keep_their_names(tree: Tree, node_id: str) -> None:
    root = tree.at("jiangsu").http
    claim = {**OLD, "node_id": node_id}
    for route in ("register", "peer/register", "heartbeat"):
        refused(root.post(f"/api/{route}", json=claim), 409, "conflict", says=node_id)
    reply = root.post("/api/unregister", json={"node_id": node_id})
    refused(reply, 409, "conflict", says=node_id)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"node_id": "x"},
        {"node_id": "", "resources": {}},
        {"node_id": "a b", "resources": {}},
        {"node_id": "a/b", "resources": {}},
        {"node_id": "a\x1f", "resources": {}},
        {"node_id": 7, "resources": {}},
        {"node_id": "x", "resources": None},
        {"node_id": "x", "resources": {"total": {"cpu": -1}}},
        {"node_id": "x", "resources": {"total": {"memory": 1.5}}},
        {"node_id": "x", "resources": {"metadata": {"a": 1}}},
        {"node_id": "x", "resources": {}, "more": 1},
    ],
)
def test_wrong_registrations(tree: Tree, body: Json) -> None:
    http = tree.at("suqian").http
    for route in ("register", "heartbeat", "peer/register"):
        refused(http.post(f"/api/{route}", json=body), 422, "invalid_field")
    refused(http.post("/api/register", content=b"{"), 415, "unsupported_media_type")
    headers = {"Content-Type": "application/json; charset=utf-8"}
    refused(http.post("/api/register", content=b"{", headers=headers), 400, "malformed_body")
