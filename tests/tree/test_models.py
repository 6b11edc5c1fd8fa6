"""Models whose training was placed on another node: asked here, served where their file lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.api.node import Node, refused
from tests.support.agents import alive, wait_until
from tests.tree.trees import GIB, PATIENCE_S, Tree, room

SCRIPT = """
import json, os, sys
if sys.argv[1] == "train":
    open(sys.argv[2], "w").write(os.environ["CNET_NODE_ID"])
else:
    print(json.dumps({"prediction": [open(sys.argv[2]).read(), json.loads(sys.argv[3])]}))
"""


def test_a_model_on_another_node(grown: Tree, tmp_path: Path) -> None:
    grown.start("root", resources=room(0.5, GIB))
    grown.start("leaf", parent="root", resources=room(2))
    grown.linked("root", "leaf")
    script = tmp_path / "model.py"
    script.write_text(SCRIPT)
    root, leaf = grown["root"], grown["leaf"]

    def ask(node: Node, value: Any) -> Any:
        url = f"/api/ml/models/{model_id}/predict"
        return node.http.post(url, json={"input_data": value}, timeout=60)

    body = {
        "name": "far",
        "model_path": "far.txt",
        "script_path": str(script),
        "resources": {"cpu_limit": 1},
        "idle_s": 3600,
    }
    reply = root.http.post("/api/ml/models", json=body)
    assert reply.status_code == 201, reply.text
    model_id = reply.json()["id"]
    done = root.wait(model_id, lambda it: it["status"] not in {"pending", "running"})
    assert (done["status"], done["node_id"]) == ("completed", "leaf")
    assert (grown.agents["leaf"].folder / "far.txt").read_text() == "leaf"
    assert ask(root, 7).json()["prediction"] == ["leaf", 7]
    assert ask(leaf, [8]).json()["prediction"] == ["leaf", [8]]
    info = Node.json(root.http.get(f"/api/ml/models/{model_id}/info"))
    assert info["service"]["status"] == "running" and info["owner"] == "root"
    assert Node.json(root.http.get(f"/api/ml/models/{model_id}/health"))["loaded"] is True
    assert leaf.used()["cpu"] == 1
    (pid,) = [
        each["process_pid"]
        for each in Node.json(leaf.http.get("/api/workloads"))["workloads"]
        if each["type"] == "mlmodel"
    ]

    grown.agents["leaf"].kill()
    wait_until(lambda: ask(root, 1).status_code == 503, timeout_s=PATIENCE_S)
    refused(ask(root, 1), 503, "node_unreachable")
    grown.agents["leaf"].restart()
    grown.linked("root", "leaf")
    assert ask(root, 9).json()["prediction"] == ["leaf", 9]
    assert alive(pid), "the service was started anew"

    assert root.http.delete(f"/api/ml/models/{model_id}").status_code == 200
    wait_until(lambda: not alive(pid), timeout_s=PATIENCE_S)
    assert root.http.get("/api/ml/models").json() == []
    grown.clean()
