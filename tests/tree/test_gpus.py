"""GPUs, as an invented driver tells of them: found, given, told of. Nothing runs on one here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.node import Json, Node, process_spec, refused
from tests.inference import networks
from tests.tree.trees import GIB, Tree

DRIVER = Path(__file__).parents[1] / "support" / "nvml"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """A parent without a GPU, and a child with two."""
    with Tree(tmp_path_factory.mktemp("gpus")) as tree:
        resources = {"cpu": 4, "memory": 8 * GIB, "storage": 20 * GIB}
        tree.launch("plain", resources={**resources, "gpu": 0})
        tree.launch(
            "graphic",
            parent="plain",
            resources=resources,
            environ={"PYTHONPATH": str(DRIVER) + os.pathsep + os.environ.get("PYTHONPATH", "")},
        )
        tree.wait_healthy()
        tree.linked("plain", "graphic")
        yield tree
        tree.shut_down()


@pytest.fixture
def tree(pair: Tree) -> Iterator[Tree]:
    yield pair
    pair.clean()


def asks(name: str, gpu: int, **fields: object) -> Json:
    return process_spec("sleep", "3600", name=name, requirements={"gpu": gpu}, **fields)


def told(node: Node, of: str) -> list[Json]:
    found: list[Json] = node.json(node.http.get(f"/api/nodes/{of}/gpus"))["gpus"]
    return found


def environment(workload: Json) -> dict[str, str]:
    pairs = Path(f"/proc/{workload['process_pid']}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair)


def test_devices_are_given_whole_and_told_of(tree: Tree) -> None:
    plain, graphic = tree["plain"], tree["graphic"]
    assert graphic.json(graphic.http.get("/api/nodes/local"))["total"]["gpu"] == 2
    one, other = (plain.submit(asks(name, 1)) for name in ("one", "other"))
    for number, workload in enumerate((one, other)):
        assert (workload["node_id"], workload["status"]) == ("graphic", "running")
        assert workload["gpu_devices"] == [number]
        variables = environment(workload)
        assert variables["CUDA_VISIBLE_DEVICES"] == str(number)
        assert variables["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    third = plain.submit(asks("third", 1))
    assert (third["status"], third["status_reason"]) == ("pending", "no_capacity")
    assert "gpu" in third["status_detail"]
    none = graphic.submit(asks("none", 0))
    assert environment(none)["CUDA_VISIBLE_DEVICES"] == ""

    expected = [
        {
            "index": number,
            "name": "Tester 9000",
            "uuid": f"GPU-{number}",
            "memory_total": 8 * GIB,
            "memory_used": (number + 1) * GIB,
            "utilization": None if number else 37,
            "workload_id": workload["id"],
        }
        for number, workload in enumerate((one, other))
    ]
    assert told(graphic, "graphic") == told(plain, "graphic") == expected
    assert told(plain, "plain") == []
    for node in (plain, graphic):
        used = node.json(node.http.get(f"/api/workloads/{other['id']}/usage"))
        assert used["gpus"] == expected[1:]
    assert "gpus" not in graphic.json(graphic.http.get(f"/api/workloads/{none['id']}/usage"))
    refused(plain.http.get("/api/nodes/nowhere/gpus"), 404, "not_found")

    plain.stop(one["id"])
    third = plain.wait_status(third["id"], "running")
    assert (third["gpu_devices"], environment(third)["CUDA_VISIBLE_DEVICES"]) == ([0], "0")
    reply = plain.http.post("/api/workloads", json=asks("three", 3))
    refused(reply, 409, "no_capacity", says="gpu")


def test_a_model_does_not_fall_back_to_the_cpu(tree: Tree, tmp_path: Path) -> None:
    """The driver is invented, so there is no CUDA: that is said, and the devices are free again."""
    model = networks.train(tmp_path / "kinds.onnx")
    spec = {
        "name": "kinds",
        "type": "mlmodel",
        "requirements": {"cpu": 1, "gpu": 1},
        "config": {"model_type": "onnx", "model_path": str(model.path)},
    }
    failed = tree["graphic"].submit(spec)
    assert (failed["status"], failed["exit_code"], failed["restarts"]) == ("failed", 2, 0)
    assert "CUDA" in failed["log_tail"][-1]
    assert tree["graphic"].used()["gpu"] == 0
    spec["requirements"] = {"cpu": 1}
    assert tree["graphic"].submit(spec)["status"] == "running"


def test_what_has_no_use_for_a_gpu_is_told_so(tree: Tree) -> None:
    spec = {"name": "faces", "type": "opencv", "requirements": {"gpu": 1}, "config": {}}
    failed = tree["graphic"].submit(spec)
    assert (failed["status"], failed["status_reason"]) == ("failed", "execution_failed")
    assert "runs on CPUs only" in failed["status_detail"]
    assert tree["graphic"].used()["gpu"] == 0
