"""What `cnet-inference` is started with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cnet.executors.base import Task
from cnet.executors.commands import LogLimits
from cnet.executors.inference import MlModelExecutor
from cnet.model.workload import WorkloadSpec
from cnet.supervision import Supervisor


def arguments(folder: Path, *, cpu: float = 1, **config: Any) -> list[str]:
    executor = MlModelExecutor(Supervisor(folder / "runs"), LogLimits(max_bytes=1 << 20, files=1))
    spec = WorkloadSpec(
        name="m", type="mlmodel", requirements={"cpu": cpu}, config={"model_path": "/m"}
    )
    task = Task(
        workload_id="w",
        attempt=1,
        spec=spec,
        config=MlModelExecutor.config_model(model_path="/m", **config),
        node_id="n",
        port=9,
    )
    return list(executor.command(task).argv)


@pytest.mark.parametrize(
    ("framework", "runtime"),
    [
        ("scikit-learn", "sklearn"),
        ("torch", "pytorch"),
        ("pytorch", "pytorch"),
        ("keras", "tensorflow"),
        ("litert", "tensorflow"),
        ("tensorflow", "tensorflow"),
        ("onnxruntime", "onnx"),
    ],
)
def test_a_framework_stands_for_a_runtime(tmp_path: Path, framework: str, runtime: str) -> None:
    assert runtime in arguments(tmp_path, framework=framework)
    assert "onnx" in arguments(tmp_path, framework=framework, model_type="onnx")


def test_threads_follow_the_cpus_asked_for(tmp_path: Path) -> None:
    for cpu, threads in ((0, 0), (0.2, 1), (2, 2), (2.5, 3)):
        assert f"--threads={threads}" in arguments(tmp_path, cpu=cpu, model_type="onnx")


def test_options_of_a_model_and_limits_of_its_service(tmp_path: Path) -> None:
    limits = {"max_batch": 8, "max_waiting": 5, "request_timeout_ms": 250}
    found = arguments(tmp_path, model_type="onnx", **limits)
    assert {"--max-batch=8", "--max-waiting=5", "--request-timeout-ms=250"} <= set(found)
    plain = arguments(tmp_path, model_type="onnx")
    assert not any(each.startswith(("--max-", "--request-", "--cache-")) for each in plain)
    tensors = {"rows": ("FP32", [-1, 4])}
    weights = {"script_path": "/c.py", "class_name": "Net", "inputs": tensors}
    found = arguments(tmp_path, model_type="pytorch", **weights)
    assert {"--script=/c.py", "--class=Net", '--inputs={"rows": ["FP32", [-1, 4]]}'} <= set(found)


def test_conversions_are_kept_beside_the_runs(tmp_path: Path) -> None:
    found = arguments(tmp_path, model_type="sklearn")
    assert f"--cache-dir={tmp_path / 'model-cache'}" in found
    assert "--no-convert" not in found
    assert "--no-convert" in arguments(tmp_path, model_type="sklearn", convert=False)
