"""The documents' second scenario, and services by name over several nodes."""

from __future__ import annotations

import base64
import os
import signal
import threading
from collections import Counter
from pathlib import Path

import httpx
import pytest

from cnet._support.ports import free_ports
from tests.api import seed_commands as seeds
from tests.api.curl import replay
from tests.api.node import Json, refused
from tests.support.agents import alive, wait_until
from tests.tree.trees import NOTHING, PATIENCE_S, Tree

EXAMPLES = Path(__file__).parents[2] / "examples"
TWO_CORES = {"cpu": 2.0, "gpu": 0, "memory": 2 * 1024**3, "storage": 0}
MODEL = "models/yolo11n.onnx"
PICTURE = {"image": base64.b64encode((EXAMPLES / "assets/astronaut.jpg").read_bytes()).decode()}


def _install_model(tree: Tree, *names: str, path: str = MODEL) -> str:
    """Put the model where these agents, and no others, look for it; its path."""
    for name in tree.agents:
        file = tree.agents[name].folder / path
        file.unlink(missing_ok=True)
        if name in names:
            file.parent.mkdir(exist_ok=True)
            file.write_bytes((EXAMPLES / "ml_models/shapes_yolo.onnx").read_bytes())
    return path


def _service(name: str = "yolo", **fields: object) -> Json:
    return {
        "name": name,
        "type": "mlmodel",
        "config": {"model_type": "yolo", "model_path": MODEL},
        "requirements": {"cpu": 2},
        "health": {"interval_s": 0.2, "failures": 1},
        **fields,
    }


@pytest.fixture
def yolo(tree: Tree) -> Json:
    """The scenario's curl, at the root; only the port is another, which another test may hold."""
    _install_model(tree, "nanjing")
    (port,) = free_ports(1)
    answer = replay(
        seeds.CLUSTER_YOLO_DEPLOY.strip().replace("9001", str(port)),
        agent=tree.agents["jiangsu"].url,
        folder=tree.agents["jiangsu"].folder,
    )
    assert answer.status == 201, answer.text
    assert answer.body["service_port"] == port
    return answer.body


def test_the_small_root_gives_the_model_to_the_child(tree: Tree, yolo: Json) -> None:
    assert (yolo["status"], yolo["node_id"], yolo["owner"]) == ("running", "nanjing", "jiangsu")
    assert alive(yolo["process_pid"])
    there = replay(seeds.RESOURCES, agent=tree.agents["nanjing"].url, folder=Path()).body
    assert there["resources"]["used"] == TWO_CORES
    tree.wait_seen("jiangsu", "nanjing", lambda it: bool(it["used"] == TWO_CORES))
    seen = replay(seeds.NODES, agent=tree.agents["jiangsu"].url, folder=Path()).body
    assert {it["node_id"]: it["used"] for it in seen["children"]} == {"nanjing": TWO_CORES}
    assert tree["jiangsu"].used() == NOTHING
    stopped = tree["jiangsu"].stop(yolo["id"])
    assert stopped["status"] == "stopped"
    assert tree["nanjing"].used() == NOTHING


def test_its_predictions_through_every_agent(tree: Tree, yolo: Json) -> None:
    root = tree.agents["jiangsu"].url
    assert yolo["endpoint"] == f"{root}/services/yolo"
    direct = httpx.post(f"{yolo['direct_endpoint']}/predict", json=PICTURE, timeout=30).json()
    assert direct["count"] == len(direct["detections"])
    for agent in ("jiangsu", "nanjing", "suqian", "changzhou"):
        for service in ("yolo", yolo["id"]):
            url = f"{tree.agents[agent].url}/services/{service}/predict"
            reply = httpx.post(url, json=PICTURE, timeout=30)
            assert reply.status_code == 200, f"{agent}: {reply.text}"
            assert reply.json()["detections"] == direct["detections"]
    predicted = httpx.post(f"{yolo['endpoint']}/predict", json=PICTURE, timeout=30)
    assert predicted.json()["detections"] == direct["detections"]


def test_what_the_root_answers_once_it_is_stopped(tree: Tree, yolo: Json) -> None:
    tree["jiangsu"].stop(yolo["id"])
    url = f"/services/{yolo['id']}/predict"
    wait_until(
        lambda: tree["suqian"].http.get("/services/yolo/health").status_code == 404,
        timeout_s=PATIENCE_S,
    )
    refused(tree["jiangsu"].http.post(url, json=PICTURE), 404, "not_found")


def test_a_model_that_only_a_distant_node_has(tree: Tree) -> None:
    _install_model(tree, "suqian")
    body = tree["jiangsu"].submit(_service())
    assert (body["status"], body["node_id"]) == ("running", "suqian")
    body = tree["nanjing"].submit(_service())
    assert (body["status"], body["node_id"]) == ("running", "suqian")


def test_a_model_that_nobody_has(tree: Tree) -> None:
    _install_model(tree)
    body = tree["jiangsu"].submit(_service())
    assert (body["status"], body["status_reason"]) == ("pending", "no_capacity")
    for name in ("nanjing", "suqian", "changzhou"):
        said = next(it for it in body["status_detail"].split("; ") if it.startswith(name))
        assert MODEL in said, body["status_detail"]
    body = tree["jiangsu"].submit(_service(queue=False))
    assert (body["status"], body["status_reason"]) == ("failed", "no_capacity")
    assert body["status_detail"].count(MODEL) == 3
    # An agent that gives work to nobody knows at once.
    spec = _service(node="changzhou")
    refused(
        tree["changzhou"].http.post("/api/workloads", json=spec),
        422,
        "invalid_field",
        field="config.model_path",
    )


@pytest.fixture
def replicas(tree: Tree) -> list[Json]:
    """One name on two nodes; the model tells which of them has answered."""
    found = []
    for where in ("nanjing", "suqian"):
        model = _install_model(tree, where, path=f"models/{where}.onnx")
        config = {"model_type": "yolo", "model_path": model}
        found.append(tree["jiangsu"].submit(_service(config=config, node=where)))
        assert found[-1]["status"] == "running"
    for agent in ("jiangsu", "nanjing", "suqian"):
        wait_until(lambda: len(_answering(tree, agent, 4)) == 2, timeout_s=PATIENCE_S)  # noqa: B023
    return found


def _answering(tree: Tree, agent: str, requests: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(requests):
        reply = tree[agent].http.get("/services/yolo/health")
        assert reply.status_code == 200, reply.text
        found[reply.json()["model"]] += 1
    return found


@pytest.mark.parametrize("agent", ["jiangsu", "nanjing", "suqian"])
def test_two_replicas_share_the_requests(tree: Tree, replicas: list[Json], agent: str) -> None:
    shares = _answering(tree, agent, 60)
    assert len(shares) == 2 and min(shares.values()) >= 10, shares
    for one in replicas:
        reply = tree[agent].http.get(f"/services/{one['id']}/health")
        assert reply.json()["model"] == one["model_path"]


def test_a_replica_that_is_killed_costs_no_idempotent_request(
    tree: Tree, replicas: list[Json]
) -> None:
    stop = threading.Event()
    statuses: list[tuple[int, str]] = []
    asked = threading.Event()

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=30) as http:
            while not stop.is_set():
                reply = http.get(f"{tree.agents['jiangsu'].url}/services/yolo/info")
                statuses.append((reply.status_code, reply.text if reply.is_error else ""))
                if len(statuses) > 50:
                    asked.set()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert asked.wait(PATIENCE_S)
        os.kill(replicas[1]["process_pid"], signal.SIGKILL)
        again = tree["jiangsu"].wait(
            replicas[1]["id"], lambda it: it["status"] == "running" and it["restarts"] == 1
        )
        after = len(statuses)
        wait_until(lambda: len(statuses) > after + 50, timeout_s=PATIENCE_S)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert again["node_id"] == "suqian"
    assert {status for status, _ in statuses} == {200}, Counter(statuses)
