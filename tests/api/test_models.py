"""Models of each type as workloads: the same numbers, and refusals that say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import skops.io
from sklearn.linear_model import LogisticRegression

from tests.api.node import Node
from tests.inference import networks

ROOM = {"cpu": 1.0, "memory": 512 * 1024 * 1024}
ROWS = np.array([[0, 0], [1, 0], [0, 3], [1, 3]], float)


def model(name: str, path: Path, **config: Any) -> dict[str, Any]:
    config = {"model_path": str(path), **config}
    return {"name": name, "type": "mlmodel", "config": config, "requirements": ROOM}


def test_an_onnx_model(node: Node, tmp_path: Path) -> None:
    trained = networks.train(tmp_path / "kinds.onnx")
    body = node.submit(model("kinds", trained.path, model_type="onnx", labels=["a", "b", "c"]))
    assert (body["status"], body["status_reason"]) == ("running", None)
    with httpx.Client(base_url=body["endpoint"], timeout=30) as client:
        assert client.get("/info").json()["labels"] == ["a", "b", "c"]
        reply = client.post("/predict", json={"inputs": trained.rows.tolist()})
        assert reply.json()["outputs"]["class"] == trained.in_process(trained.rows)[0].tolist()
        assert client.get("/v2/models/kinds/ready").json() == {"name": "kinds", "ready": True}


def test_a_scikit_learn_model_by_its_framework(node: Node, tmp_path: Path) -> None:
    fitted = LogisticRegression().fit(ROWS, [0, 0, 1, 1])
    skops.io.dump(fitted, tmp_path / "m.skops")
    body = node.submit(model("lines", tmp_path / "m.skops", framework="scikit-learn"))
    assert body["status"] == "running"
    asked = {"inputs": ROWS.tolist(), "outputs": ["predict_proba"]}
    reply = httpx.post(f"{body['endpoint']}/predict", json=asked, timeout=30)
    found = np.array(reply.json()["outputs"]["predict_proba"])
    assert np.abs(found - fitted.predict_proba(ROWS)).max() < 1e-12


def test_a_file_of_ones_own(node: Node, tmp_path: Path) -> None:
    path = tmp_path / "twice.py"
    path.write_text("class Twice:\n    def predict(self, inputs):\n        return inputs * 2\n")
    spec = model("twice", path, model_type="custom", class_name="Twice")
    body = node.submit(spec)
    assert body["status"] == "running"
    reply = httpx.post(f"{body['endpoint']}/predict", json={"inputs": "ab"}, timeout=30)
    assert reply.json()["outputs"] == "abab"
    reply = httpx.post(f"{body['endpoint']}/predict", json={"inputs": {}}, timeout=30)
    assert (reply.status_code, reply.json()["error"]) == (500, "model_failed")
    assert "TypeError" in reply.json()["details"]
    path.write_text("import no_such_module\n")
    failed = node.submit(spec)
    assert (failed["status"], failed["restarts"], failed["exit_code"]) == ("failed", 0, 2)
    assert "No module named 'no_such_module' (twice.py, line 1)" in failed["log_tail"][-1]


def test_a_joblib_file_fails_until_it_is_allowed(node: Node, tmp_path: Path) -> None:
    joblib.dump(LogisticRegression().fit(ROWS, [0, 0, 1, 1]), tmp_path / "m.joblib")
    spec = model("lines", tmp_path / "m.joblib", model_type="sklearn")
    failed = node.submit(spec)
    assert (failed["status"], failed["restarts"], failed["exit_code"]) == ("failed", 0, 2)
    assert "config.allow_joblib: true" in failed["log_tail"][-1]
    spec["config"]["allow_joblib"] = True
    assert node.submit(spec)["status"] == "running"
