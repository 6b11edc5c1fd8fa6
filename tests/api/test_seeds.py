"""The documents' own commands against a running agent give the fields of contract 0 and 3."""

from __future__ import annotations

import fcntl
import tempfile
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api import seed_commands as seeds
from tests.api.curl import Answer, parsed, replay
from tests.api.node import Json, Node
from tests.support.agents import alive

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTHING = {"cpu": 0.0, "gpu": 0, "memory": 0, "storage": 0}
TWO_CORES = {"cpu": 2.0, "gpu": 0, "memory": 2 * 1024**3, "storage": 0}
ONE_CORE = {"cpu": 1.0, "gpu": 0, "memory": 512 * 1024**2, "storage": 0}


@pytest.fixture(autouse=True)
def _documented_ports() -> Iterator[None]:
    """The documents' services listen on 9000 and 9001: one test run of this machine at a time."""
    lock = Path(tempfile.gettempdir()) / "cnet-tests-ports-9000-9001.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def files(node: Node) -> Path:
    """The agent's working directory with the files that the commands name."""
    folder = node.agent.folder
    (folder / "models").mkdir(exist_ok=True)
    for source, name in (
        ("ml_models/shapes_yolo.onnx", "models/yolo11n.onnx"),
        ("assets/astronaut.jpg", "test.jpg"),
        ("assets/astronaut.jpg", "image.jpg"),
    ):
        (folder / name).write_bytes((EXAMPLES / source).read_bytes())
    return folder


@pytest.fixture
def curl(node: Node, files: Path) -> Any:
    """Runs a documented command against the test's agent."""

    def run(command: str, workload_id: str = "") -> Answer:
        return replay(command.strip(), agent=node.agent.url, folder=files, workload_id=workload_id)

    return run


@pytest.mark.parametrize(
    ("command", "env"),
    [
        (seeds.PROCESS_SUBMIT, {}),
        (seeds.FLAT_PROCESS_SUBMIT, {}),
        (seeds.PROCESS_SUBMIT_WITH_ENV, {"TEST": "value"}),
    ],
)
def test_a_process(node: Node, curl: Any, command: str, env: Json) -> None:
    answer = curl(command)
    assert answer.status == 201
    body = answer.body
    _check_workload(body, "process", requirements=ONE_CORE)
    assert body["name"] == "test-process"
    assert (body["command"], body["args"], body["env"]) == ("sleep", ["60"], env)
    assert body["working_dir"] is None
    assert body["pid"] == body["process_pid"]
    assert "endpoint" not in body and "exit_code" not in body
    pid = body["pid"]
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x0060\x00"
    environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert all(f"{name}={value}".encode() in environ for name, value in env.items())
    assert node.used() == ONE_CORE

    assert curl(seeds.GET, body["id"]).body == body
    listed = curl(seeds.LIST).body
    assert (listed["workloads"], listed["count"], listed["next_cursor"]) == ([body], 1, None)
    assert curl(seeds.LOGS, body["id"]).body == {"logs": [], "count": 0}

    stopped = curl(seeds.STOP, body["id"])
    assert stopped.status == 200
    assert stopped.body["message"]
    assert stopped.body["workload"]["status"] == "stopped"
    assert not alive(pid)
    assert node.used() == NOTHING
    deleted = curl(seeds.DELETE, body["id"])
    assert (deleted.status, list(deleted.body)) == (200, ["message"])
    assert curl(seeds.GET, body["id"]).status == 404
    assert curl(seeds.LIST).body == {"workloads": [], "count": 0, "next_cursor": None}


@pytest.mark.parametrize(
    ("deploy", "predict"),
    [
        (seeds.YOLO_DEPLOY, seeds.YOLO_PREDICT),
        (seeds.FLAT_YOLO_DEPLOY, seeds.YOLO_PREDICT),
        (seeds.SCENARIO_YOLO_DEPLOY, seeds.SCENARIO_YOLO_PREDICT),
        (seeds.CLUSTER_YOLO_DEPLOY, seeds.SCENARIO_YOLO_PREDICT),
    ],
)
def test_yolo_from_deployment_to_nothing_left(
    node: Node, curl: Any, deploy: str, predict: str
) -> None:
    answer = curl(deploy)
    assert answer.status == 201, answer.text
    body = answer.body
    _check_workload(body, "mlmodel", requirements=TWO_CORES)
    assert (body["model_type"], body["model_path"]) == ("yolo", "models/yolo11n.onnx")
    assert (body["service_port"], body["service_host"]) == (9001, "localhost")
    assert body["endpoint"] == "http://localhost:9001"

    health = httpx.get("http://localhost:9001/health").json()
    assert (health["status"], health["model"]) == ("healthy", "models/yolo11n.onnx")
    info = httpx.get("http://localhost:9001/info").json()
    assert (info["model_type"], info["loaded"]) == ("yolo", True)

    found = curl(predict)
    assert found.status == 200
    assert found.body["count"] == len(found.body["detections"])
    for detection in found.body["detections"]:
        assert isinstance(detection["class"], str) and 0.5 <= detection["confidence"] <= 1
        _check_box(detection["bbox"], width=512, height=512)

    assert curl(seeds.NANJING_RESOURCES).body["resources"]["used"] == TWO_CORES
    _stop_and_check(node, curl, body)


@pytest.mark.parametrize("deploy", [seeds.OPENCV_DEPLOY, seeds.FLAT_OPENCV_DEPLOY])
def test_opencv_from_deployment_to_nothing_left(node: Node, curl: Any, deploy: str) -> None:
    answer = curl(deploy)
    assert answer.status == 201, answer.text
    body = answer.body
    _check_workload(body, "opencv", requirements=ONE_CORE)
    assert (body["cascade_type"], body["cascade_path"]) == ("face", "")
    assert body["endpoint"] == "http://localhost:9000"

    health = httpx.get("http://localhost:9000/health").json()
    assert (health["status"], health["cascade_type"]) == ("healthy", "face")
    info = httpx.get("http://localhost:9000/info").json()
    assert (info["service_type"], info["cascade_type"], info["loaded"]) == ("opencv", "face", True)

    found = curl(seeds.SCENARIO_YOLO_PREDICT.replace("9001", "9000"))
    assert found.status == 200
    assert found.body["count"] == 1
    (face,) = found.body["detections"]
    assert face["type"] == "face"
    x, y, width, height = face["bbox"]
    # Eileen Collins' face on the photograph, as found by eye
    assert x < 225 < x + width and y < 115 < y + height and 60 < width < 150
    _stop_and_check(node, curl, body)


def test_sklearn_wants_its_file(node: Node, curl: Any) -> None:
    answer = curl(seeds.SKLEARN_DEPLOY)
    assert answer.status == 422
    assert answer.body == {
        "error": "invalid_field",
        "details": "config.model_path: 'models/model.joblib' is not a file on this node",
        "field": "config.model_path",
    }
    assert curl(seeds.LIST).body["count"] == 0


def test_the_node(node: Node, curl: Any) -> None:
    held = curl(seeds.PROCESS_SUBMIT).body
    resources = curl(seeds.RESOURCES).body
    assert list(resources) == ["resources"]
    here = resources["resources"]
    _check_node(here)
    assert here["used"] == ONE_CORE

    stats = curl(seeds.STATS).body
    assert set(stats) == {
        "local_resources",
        "child_nodes_count",
        "peer_nodes_count",
        "workloads_count",
        "workloads_by_status",
    }
    assert stats["local_resources"] == {name: here[name] for name in ("total", "available", "used")}
    assert (stats["child_nodes_count"], stats["peer_nodes_count"]) == (0, 0)
    assert stats["workloads_count"] == 1
    assert stats["workloads_by_status"] == {
        "pending": 0,
        "running": 1,
        "completed": 0,
        "failed": 0,
        "stopped": 0,
    }

    nodes = curl(seeds.NODES).body
    assert (nodes["node_id"], nodes["count"], nodes["total"]) == ("nanjing", 1, 1)
    assert (nodes["parent"], nodes["children"], nodes["peers"]) == (None, [], [])
    (self_,) = nodes["nodes"]
    _check_node(self_)
    assert (self_["parent_id"], self_["depth"], self_["labels"]) == (None, 0, {"city": "nanjing"})
    local = node.json(node.http.get("/api/nodes/local"))
    _check_node(local)
    assert (local["node_id"], local["used"]) == ("nanjing", ONE_CORE)

    health = curl(seeds.HEALTH).body
    assert health["status"] == "healthy" and health["message"]
    assert curl(seeds.DELETE, held["id"]).status == 200


def test_without_curl_the_same_bytes_are_sent() -> None:
    request = parsed(seeds.PROCESS_SUBMIT.strip())
    assert (request.method, request.url) == ("POST", "http://localhost:8080/api/workloads")
    assert request.headers == {"Content-Type": "application/json"}
    assert request.body is not None
    assert f"'{request.body.decode()}'" in seeds.PROCESS_SUBMIT


def _stop_and_check(node: Node, curl: Any, body: Json) -> None:
    stopped = curl(seeds.STOP, body["id"])
    assert stopped.body["workload"]["status"] == "stopped"
    assert stopped.body["workload"]["status_reason"] == "stopped_by_user"
    assert not alive(body["process_pid"])
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{body['endpoint']}/health")
    assert node.used() == NOTHING
    assert curl(seeds.DELETE, body["id"]).status == 200


def _check_workload(body: Json, kind: str, *, requirements: Json) -> None:
    assert uuid.UUID(body["id"]).version == 4
    assert body["type"] == kind
    assert (body["status"], body["desired"], body["status_reason"]) == ("running", "running", None)
    assert body["requirements"] == requirements
    assert body["config"] == body["metadata"]
    # the config again at top level, where an attribute of every workload is not called the same
    for name in body["config"].keys() - {"secret_env", "service_port", "labels"}:
        assert body[name] == body["config"][name]
    assert body["node_id"] == "nanjing"
    assert alive(body["process_pid"])
    assert (body["restarts"], body["gpu_devices"], body["labels"]) == (0, [], {})
    created, started, updated = (
        _time(body[name]) for name in ("created_at", "started_at", "updated_at")
    )
    assert created <= started <= updated
    assert "log_tail" not in body and "ended_at" not in body


def _check_node(here: Json) -> None:
    assert (here["node_id"], here["node_type"], here["status"]) == ("nanjing", "local", "active")
    assert here["address"] == "" and here["metadata"] == {}
    assert here["total"] == {"cpu": 4.0, "gpu": 2, "memory": 8 * 1024**3, "storage": 20 * 1024**3}
    for name, total in here["total"].items():
        assert here["available"][name] + here["used"][name] == total
    assert _time(here["last_updated"]).utcoffset() is not None


def _check_box(box: list[int], *, width: int, height: int) -> None:
    x, y, w, h = box
    assert all(isinstance(number, int) for number in box)
    assert x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= width and y + h <= height


def _time(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)
