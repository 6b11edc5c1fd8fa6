"""`/api/ml/models`: the first document's commands, and what else a model goes through."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.api import seed_commands as seeds
from tests.api.curl import Answer, replay
from tests.api.node import Json, Node, refused
from tests.support.agents import AgentProcess, alive, start_agent, wait_until
from tests.tree.trees import GIB

ROOT = Path(__file__).parents[2]
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
"""`python3` is the one that runs the tests: it has scikit-learn."""
LIMITS = {"cpu_limit": 0.5, "memory_limit": 512_000_000, "disk_limit": 0}


@pytest.fixture(scope="module")
def shared_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """Started in a folder with the examples, as in a clone."""
    folder = tmp_path_factory.mktemp("agent")
    shutil.copytree(ROOT / "examples", folder / "examples")
    agent = start_agent(
        folder,
        environ={"PATH": PATH},
        resources={"cpu": 2, "gpu": 0, "memory": 4 * GIB, "storage": 20 * GIB},
        agent={"node_id": "nanjing"},
    )
    yield agent
    agent.stop()


@pytest.fixture
def curl(node: Node) -> Any:
    """Runs a documented command against the test's agent."""

    def run(command: str, model_id: str = "") -> Answer:
        command = command.strip().replace("{model_id}", model_id)
        return replay(command, agent=node.agent.url, folder=node.agent.folder)

    return run


class Models:
    """The routes, each with the answer that is expected of it."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node = node
        self.folder = folder

    def deploy(self, script: str = "", *, name: str = "m.txt", **fields: Any) -> Json:
        """One whose script is given; its `train` must have ended well."""
        path = self.folder / f"{len(list(self.folder.iterdir()))}.py"
        if script:
            path.write_text(script)
            fields = {"script_path": str(path), **fields}
        body = {"name": "m", "model_path": str(self.folder / name), "resources": LIMITS, **fields}
        reply = self.node.http.post("/api/ml/models", json=body)
        assert reply.status_code == 201, reply.text
        return self.node.json(reply)

    def trained(self, script: str = "", **fields: Any) -> str:
        found = self.deploy(script, **fields)
        assert self.ended(found["id"])["status"] == "completed"
        return str(found["id"])

    def ended(self, model_id: str) -> Json:
        return self.node.wait(model_id, lambda it: it["status"] not in {"pending", "running"})

    def predict(self, model_id: str, value: Any, **options: Any) -> Json:
        reply = self.ask(model_id, value, **options)
        assert reply.status_code == 200, reply.text
        return self.node.json(reply)

    def ask(self, model_id: str, value: Any, **options: Any) -> Any:
        body = {"input_data": value, "options": options}
        return self.node.http.post(f"/api/ml/models/{model_id}/predict", json=body, timeout=120)

    def info(self, model_id: str) -> Json:
        return self.node.json(self.node.http.get(f"/api/ml/models/{model_id}/info"))

    def service(self, model_id: str) -> Json:
        found: Json = self.node.get(self.info(model_id)["service"]["id"])
        return found


@pytest.fixture
def models(node: Node, tmp_path: Path) -> Models:
    return Models(node, tmp_path)


ECHO = """
import json, os, sys
action, path, *rest = sys.argv[1:]
if action == "train":
    open(path, "w").write("1")
    print("made", path)
else:
    calls = int(open(path).read())
    found = [json.loads(rest[0]), os.environ.get("MARK")]
    print(json.dumps({"prediction": found, "confidence": 0.5}))
"""


def test_the_first_document(node: Node, curl: Any) -> None:
    deployed = curl(seeds.ML_DEPLOY)
    assert deployed.status == 201, deployed.text
    body = deployed.body
    assert (body["name"], body["type"]) == ("my-model", "ml")
    assert body["resources"] == {
        "cpu_limit": 1.0,
        "memory_limit": 512_000_000,
        "disk_limit": 1_000_000_000,
        "gpu_limit": 0,
    }
    assert body["args"] == ["script.py", "train", "model.joblib", "1000"]
    done = node.wait(body["id"], lambda it: it["status"] not in {"pending", "running"})
    assert (done["status"], done["exit_code"]) == ("completed", 0)
    assert (node.agent.folder / "models/my_model.joblib").is_file()

    lines = node.http.get(f"/api/ml/models/{body['id']}/logs?lines=100").json()
    told = json.loads(lines[-1])
    assert told["status"] == "success" and told["training_samples"] == 800
    assert told["model_info"]["coefficient"] == pytest.approx(2.5, abs=0.1)

    answer = curl(seeds.ML_PREDICT, body["id"])
    assert answer.status == 200, answer.text
    line = told["model_info"]["intercept"] + 5.5 * told["model_info"]["coefficient"]
    assert answer.body["prediction"] == pytest.approx(line)
    assert isinstance(answer.body["duration"], int) and answer.body["duration"] > 0

    (listed,) = node.http.get("/api/ml/models").json()
    assert (listed["id"], listed["status"]) == (body["id"], "completed")
    assert listed["stopped_at"] == listed["ended_at"]
    assert node.http.delete(f"/api/ml/models/{body['id']}").status_code == 200
    assert node.http.get(f"/api/ml/models/{body['id']}").status_code == 404
    assert node.http.get("/api/ml/models").json() == []
    assert node.json(node.http.get("/api/workloads"))["workloads"] == []


def test_the_first_documents_configuration(node: Node) -> None:
    body = json.loads(seeds.ML_CONFIGURATION)
    folder = node.agent.folder / "examples/ml_models"
    shutil.copy(folder / "simple_linear_regression.py", folder / "script.py")
    reply = node.http.post("/api/ml/models", json=body)
    assert reply.status_code == 201, reply.text
    model = node.json(reply)
    assert (model["working_dir"], model["env"]) == (".", body["env"])
    assert node.wait_status(model["id"], "completed")
    assert (node.agent.folder / "models/model.joblib").is_file()


@pytest.mark.parametrize("script", ["ml_deployment_demo.sh", "test_ml_deployment.sh"])
def test_the_example_scripts(node: Node, script: str) -> None:
    done = subprocess.run(
        ["bash", node.agent.folder / "examples" / script, node.agent.url],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={"PATH": PATH},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert node.json(node.http.get("/api/workloads"))["workloads"] == []


def test_loaded_once_kept_warm_and_given_back(node: Node, models: Models) -> None:
    model_id = models.trained(ECHO, env={"MARK": "x"}, secret_env={"KEY": "s"}, idle_s=3600)
    assert models.info(model_id)["service"] is None
    assert node.used()["memory"] == 0
    with ThreadPoolExecutor(8) as pool:  # all of them find it unloaded
        answers = list(pool.map(lambda number: models.predict(model_id, number), range(8)))
    assert [it["prediction"] for it in answers] == [[number, "x"] for number in range(8)]
    assert answers[0]["confidence"] == 0.5
    assert answers[0]["metadata"]["served_by"] == "forks of a warm interpreter"
    service = models.service(model_id)
    assert (service["status"], service["attempt"], service["type"]) == ("running", 1, "mlmodel")
    assert service["config"]["secret_env"] == {"KEY": "***"}
    assert (node.used()["cpu"], node.used()["memory"]) == (0.5, 512_000_000)
    workloads = node.json(node.http.get("/api/workloads"))["workloads"]
    assert {it["id"] for it in workloads} == {model_id, service["id"]}
    assert models.service(model_id)["process_pid"] == service["process_pid"]

    # made anew: the loaded one is not asked any more
    reply = node.http.post(f"/api/workloads/{model_id}/restart")
    assert reply.status_code == 200
    assert models.ended(model_id)["attempt"] == 2
    models.predict(model_id, 1)
    assert models.service(model_id)["process_pid"] != service["process_pid"]
    assert not alive(service["process_pid"])
    # stopped by hand: the next prediction brings it back
    node.stop(service["id"])
    assert models.predict(model_id, 2)["prediction"][0] == 2
    # the model goes, and whatever serves it goes with it, although nobody said so
    reply = node.http.delete(f"/api/workloads/{model_id}")
    assert reply.status_code == 200
    wait_until(lambda: not node.json(node.http.get("/api/workloads"))["workloads"])


def test_unloaded_while_it_is_asked(node: Node, models: Models) -> None:
    """Whoever asks then waits for it to come back."""
    model_id = models.trained(ECHO, idle_s=3600)
    models.predict(model_id, 0)
    service_id = models.service(model_id)["id"]
    asking = threading.Event()

    def ask(number: int) -> list[str]:
        refusals, count = [], 0
        while not asking.is_set() or count < 3:
            reply = models.ask(model_id, number)
            count += 1
            if reply.status_code != 200:
                refusals.append(reply.text)
        return refusals

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, number) for number in range(4)]
        try:
            for number in range(2, 4):
                reply = node.http.post(f"/api/workloads/{service_id}/stop?wait=false")
                assert reply.status_code == 200, reply.text
                node.wait(service_id, partial(_runs_again, attempt=number))
        finally:
            asking.set()
        refusals = [refusal for each in asked for refusal in each.result()]
    assert not refusals


def _runs_again(service: Json, *, attempt: int) -> bool:
    return service["attempt"] >= attempt and service["status"] == "running"


def test_unloaded_when_idle(node: Node, models: Models) -> None:
    model_id = models.trained(ECHO, idle_s=0.2)
    assert models.predict(model_id, [1, 2])["prediction"][0] == [1, 2]
    node.wait_status(models.info(model_id)["service"]["id"], "stopped")
    assert node.used()["memory"] == 0
    assert models.predict(model_id, "3")["prediction"][0] == 3
    lines = node.http.get(f"/api/ml/models/{model_id}/logs?source=service&lines=0").json()
    assert any("listening" in line for line in lines)


def test_an_agent_that_is_killed(node: Node, models: Models) -> None:
    model_id = models.trained(ECHO, idle_s=3600)
    gone = models.trained(ECHO, idle_s=3600)
    for number, each in enumerate((model_id, gone)):
        assert models.predict(each, number)["prediction"][0] == number
    before = models.service(model_id)
    left = models.service(gone)
    node.agent.kill()
    node.agent.restart()
    with Node(node.agent) as again:
        models.node = again
        assert models.service(model_id)["process_pid"] == before["process_pid"]
        assert models.predict(model_id, 5)["prediction"][0] == 5
        assert models.service(model_id)["attempt"] == 1
        again.http.delete(f"/api/workloads/{gone}")
        wait_until(lambda: not alive(left["process_pid"]))
        again.delete_all()
    node.http.base_url = node.agent.url


def test_what_keeps_a_model_from_predicting(node: Node, models: Models) -> None:
    waits = "import sys, time\ntime.sleep(3600)\n"
    running = models.deploy(waits)
    assert running["status"] == "running"
    refused(models.ask(running["id"], 1), 409, "model_not_ready", says="has not ended")
    health = node.http.get(f"/api/ml/models/{running['id']}/health")
    assert refused(health, 503, "model_not_ready")["status"] == "unhealthy"
    reply = node.http.delete(f"/api/ml/models/{running['id']}")
    assert reply.status_code == 200
    stopped = node.json(node.http.get(f"/api/ml/models/{running['id']}"))
    assert stopped["status"] == "stopped"
    refused(models.ask(running["id"], 1), 409, "model_not_ready", says="stopped")

    nothing = models.trained("print('I make nothing')", name="nothing.bin")
    refused(models.ask(nothing, 1), 409, "no_artifact", says="nothing.bin")
    refused(node.http.get(f"/api/ml/models/{nothing}/health"), 503, "no_artifact")

    broken = models.trained(ECHO.replace("json.loads(rest[0])", "1 / 0"))
    refused(models.ask(broken, 1), 502, "model_failed", says="ZeroDivisionError")
    silent = models.trained(ECHO.replace("print(json", "str(json"))
    refused(models.ask(silent, 1), 502, "model_failed", says="no JSON object")
    assert node.http.get("/api/ml/models/unknown").status_code == 404
    other = node.process("/bin/true")["id"]
    refused(node.http.get(f"/api/ml/models/{other}"), 404, "not_found", says="not a model")


def test_no_room_to_load_it(node: Node, models: Models) -> None:
    model_id = models.trained(ECHO, resources={"cpu_limit": 1.5})
    taken = node.process("sleep", "3600", requirements={"cpu": 1})
    reply = models.ask(model_id, 1)
    refused(reply, 503, "no_capacity", says="cpu")
    assert reply.headers["retry-after"]
    node.stop(taken["id"])
    assert models.predict(model_id, 1)["prediction"][0] == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model_type": "prophet"}, "model_type"),
        ({"model_path": "a\0b"}, "model_path"),
        ({"model_path": ""}, "model_path"),
        ({"script_path": "no-such.py"}, "script_path"),
        ({"script_path": "x" * 5000}, "script_path"),
        ({"working_dir": "/no/such/folder"}, "working_dir"),
        ({"resources": {"cpu_limit": -1}}, "resources.cpu_limit"),
        ({"resources": {"memory": 1}}, "resources.memory"),
        ({"name": "a/b"}, "name"),
        ({"engine": "x"}, "engine"),
        ({"idle_s": 0}, "idle_s"),
        ({"args": [None]}, "args.0"),
        ({"serve": "script"}, None),
    ],
)
def test_bad_requests(node: Node, change: Json, field: str | None) -> None:
    body = {"name": "m", "model_path": "m.joblib", **change}
    found = refused(node.http.post("/api/ml/models", json=body), 422, "invalid_field", field=field)
    assert "config." not in found["details"]
    assert node.http.get("/api/ml/models").json() == []


def test_models_that_are_there_already(node: Node, models: Models) -> None:
    """Nothing is trained: the runtime of the type serves the file."""
    shapes = models.trained(
        model_type="yolo", model_path=str(ROOT / "examples/ml_models/shapes_yolo.onnx")
    )
    import base64

    picture = base64.b64encode((ROOT / "examples/assets/astronaut.jpg").read_bytes()).decode()
    found = models.predict(shapes, picture, confidence=0.9)
    assert isinstance(found["prediction"], list) and found["metadata"]["image"]["width"] == 512
    refused(models.ask(shapes, "no picture"), 422, "bad_image")
    refused(models.ask(shapes, picture, inputs=1), 422, "invalid_field", field="options.inputs")
    body = {"name": "m", "model_type": "onnx", "model_path": "no-such.onnx"}
    refused(node.http.post("/api/ml/models", json=body), 422, "invalid_field", field="model_path")


def test_a_file_that_scikit_learn_serves(node: Node, models: Models) -> None:
    script = (ROOT / "examples/ml_models/neural_network.py").read_text()
    by_script = models.trained(script, name="moons.joblib")
    by_file = models.trained(script, name="moons.joblib", allow_joblib=True)
    for point in ([0.0, 1.0], [1.0, -0.5], [0.5, 0.25]):
        one, other = models.predict(by_script, point), models.predict(by_file, point)
        assert one["prediction"] == other["prediction"]
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-5)
    assert models.info(by_script)["ml_specific"]["served_by"] == "script"
    assert models.info(by_file)["ml_specific"]["served_by"] == "sklearn"
    rows = models.predict(by_file, [[0.0, 1.0], [1.0, -0.5]])
    assert rows["prediction"] == [0, 1] and len(rows["confidence"]) == 2
    refused(models.ask(by_file, ["a", 1]), 422, "invalid_field")
    refused(models.ask(by_script, "x"), 422, "model_failed", says="two finite numbers")
