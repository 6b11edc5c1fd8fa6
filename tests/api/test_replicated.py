"""Services through a real agent: what they promise is kept at steady load, over kills too."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.api.node import Json, Node
from tests.support.agents import AgentProcess, start_agent, wait_until
from tests.support.traffic import Traffic, model

GIB = 1024**3
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of models that answer with their number, 0 to 3."""
    folder = tmp_path_factory.mktemp("models")
    return [model(folder, number) for number in range(4)]


def template(path: str, **fields: Any) -> Json:
    config = {"model_type": "custom", "model_path": path}
    return {"type": "mlmodel", "config": config, "requirements": {"cpu": 0.1}, **fields}


def sent(node: Node, method: str, path: str, body: Json | None = None, status: int = 200) -> Json:
    reply = node.http.request(method, f"/api/services{path}", json=body)
    assert reply.status_code == status, reply.text
    return node.json(reply)


@pytest.fixture
def made(node: Node, models: list[str]) -> Json:
    """`m` with one replica of model 0."""
    return sent(node, "POST", "", {"name": "m", "template": template(models[0])}, 201)


def pids(node: Node) -> list[int]:
    """Main processes of what runs."""
    found = node.json(node.http.get("/api/workloads", params={"status": "running"}))
    return [int(each["process_pid"]) for each in found["workloads"]]


def of_version(service: Json, version: str) -> Json:
    found: Json = next(each for each in service["versions"] if each["version"] == version)
    return found


def test_a_service_is_made_seen_and_deleted(node: Node, made: Json, models: list[str]) -> None:
    assert (made["status"], made["ready"], made["owner"]) == ("ready", 1, "nanjing")
    again = sent(node, "POST", "", {"name": "m", "template": template(models[0])})
    assert again["id"] == made["id"]
    other = {"name": "m", "template": template(models[1])}
    assert "change it with PUT" in sent(node, "POST", "", other, 409)["details"]
    reply = node.http.post("/services/m/predict", json={"inputs": [1]})
    assert reply.json()["outputs"] == 0
    assert [each["name"] for each in sent(node, "GET", "")["services"]] == ["m"]
    shown = sent(node, "GET", "/m")
    assert of_version(shown, "v1")["metrics"]["requests"] == 1
    text = node.http.get("/metrics").text
    assert 'cnet_service_requests_total{service="m",version="v1"} 1.0' in text
    assert 'cnet_service_replicas_ready{service="m",version="v1"} 1.0' in text
    assert 'cnet_workloads{status="running"} 1.0' in text
    sent(node, "DELETE", "/m")
    assert sent(node, "GET", "/m", status=404)["details"] == "no service 'm'; there are: none"
    assert node.json(node.http.get("/api/workloads"))["count"] == 0


@pytest.mark.parametrize(
    ("body", "status", "field", "says"),
    [
        ({"name": "x"}, 422, "template", "field required"),
        ({"name": "a/b", "template": {"type": "mlmodel"}}, 422, "name", 'without "/"'),
        ({"replicas": -1}, 422, "replicas", "greater than or equal to 0"),
        ({"template": {"type": "abacus"}}, 422, "template.type", "is not one of"),
        (
            {"template": {"type": "process", "config": {"command": "sleep"}}},
            422,
            "template.type",
            "answers no HTTP",
        ),
        ({"template": {"name": "y", "type": "mlmodel"}}, 422, "template.name", "unknown field"),
        (
            {"template": {"type": "opencv", "labels": {"cnet.version": "9"}}},
            422,
            "template.labels",
            "is for the replicas",
        ),
        (
            {"template": {"type": "opencv", "config": {"service_port": 9001}}},
            422,
            "template.config",
            "a free one (0)",
        ),
        (
            {"template": {"type": "opencv", "requirements": {"cpu": 400}}},
            409,
            None,
            "no node could ever hold this",
        ),
        ({"update": {"max_surge": 0}}, 422, "update", "nothing could be replaced"),
        ({"autoscale": {"min": 3, "max": 2}}, 422, "autoscale", "is more than max"),
        ({"version": "a b"}, 422, "version", "must begin with a letter or digit"),
    ],
)
def test_bad_services(node: Node, body: Json, status: int, field: str | None, says: str) -> None:
    body = {"name": "x", "template": {"type": "opencv"}} | body
    if says == "field required":
        del body["template"]
    refused = sent(node, "POST", "", body, status)
    assert says in refused["details"] and refused.get("field") == field, refused


def test_bad_changes(node: Node, made: Json, models: list[str]) -> None:
    assert sent(node, "PUT", "/m", {}, 422)["error"] == "invalid_field"
    bad = {"template": template("/no/such/file.py")}
    assert "template.config.model_path" in sent(node, "PUT", "/m", bad, 422)["details"]
    taken = {"template": template(models[1]), "version": "v1"}
    assert "is a version of m already" in sent(node, "PUT", "/m", taken, 409)["details"]
    unknown = {"weights": {"v9": 1}}
    assert "weights.v9" in sent(node, "PUT", "/m/traffic", unknown, 404)["details"]
    nothing = {"weights": {"v1": 0}}
    assert "at least one" in sent(node, "PUT", "/m/traffic", nothing, 422)["details"]
    assert "no earlier version" in sent(node, "POST", "/m/rollback", {}, 409)["details"]
    assert sent(node, "PUT", "/nobody/scale", {"replicas": 1}, 404)["error"] == "not_found"
    assert sent(node, "GET", "/m")["versions"] == made["versions"]


def test_updates_scales_and_kills_at_steady_load(node: Node, made: Json, models: list[str]) -> None:
    with Traffic(node.agent.url, "m") as traffic:
        traffic.until(more=200)
        for count in (3, 1):
            assert sent(node, "PUT", "/m/scale", {"replicas": count})["ready"] == count
            traffic.until(more=200)
        updated = sent(node, "PUT", "/m", {"template": template(models[1]), "replicas": 2})
        assert (updated["status"], updated["traffic"]) == ("ready", {"v2": 100})
        traffic.until(more=300)
        for pid in pids(node)[:1]:
            psutil.Process(pid).send_signal(signal.SIGKILL)
        traffic.until(more=500)
        back = sent(node, "POST", "/m/rollback", {})
        assert back["traffic"] == {"v1": 100}
        traffic.until(more=200)
    assert traffic.failed == []
    assert traffic.answers[0] and traffic.answers[1]
    assert len(traffic.latencies) >= 1_600


def test_the_crash_of_the_only_replica_is_a_delay(node: Node, made: Json) -> None:
    with Traffic(node.agent.url, "m", clients=2) as traffic:
        traffic.until(more=100)
        for pid in pids(node):
            psutil.Process(pid).send_signal(signal.SIGKILL)
        traffic.until(more=200)
    assert traffic.failed == []


def test_a_canary_gets_its_share_exactly(node: Node, made: Json, models: list[str]) -> None:
    canary = {"template": template(models[1]), "weight": 10, "version": "next"}
    assert sent(node, "PUT", "/m", canary)["traffic"] == {"v1": 9000, "next": 1000}
    wait_until(
        lambda: len(sent(node, "GET", "/m")["instances"]) == 2,
        timeout_s=PATIENCE_S,
        what="two replicas",
    )
    with Traffic(node.agent.url, "m", total=2_000) as traffic:
        traffic.join()
    assert traffic.failed == []
    assert abs(traffic.answers[1] - 200) <= 2, traffic.answers
    shown = sent(node, "PUT", "/m/traffic", {"weights": {"next": 1}})
    assert shown["traffic"] == {"next": 1}
    requests = of_version(shown, "next")["metrics"]["requests"]
    assert requests == traffic.answers[1] and not of_version(shown, "next")["metrics"]["errors"]
    only = node.http.post("/services/m/predict", json={"inputs": [1]})
    assert only.json()["outputs"] == 1


def test_an_update_that_fails_is_rolled_back(node: Node, made: Json, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("class Model:\n    def load(self):\n        raise ValueError('no weights')\n")
    with Traffic(node.agent.url, "m", clients=2) as traffic:
        shown = sent(node, "PUT", "/m", {"template": template(str(broken))})
        assert (shown["status"], shown["status_reason"]) == ("ready", "rolled_back")
        assert "v2" in shown["status_detail"] and shown["traffic"] == {"v1": 100}
        traffic.until(more=50)
    assert traffic.failed == [] and set(traffic.answers) == {0}


def test_from_none_to_one_by_the_first_request(node: Node, models: list[str]) -> None:
    body = {"name": "m", "template": template(models[0])}
    body |= {"replicas": 0, "autoscale": {"min": 0, "max": 2, "idle_s": 0.5}}
    assert sent(node, "POST", "", body, 201)["status"] == "idle"
    reply = node.http.post("/services/m/predict", json={"inputs": [1]})
    assert reply.status_code == 200, reply.text
    wait_until(
        lambda: sent(node, "GET", "/m")["status"] == "idle",
        timeout_s=PATIENCE_S,
        what=lambda: str(sent(node, "GET", "/m")),
    )
    refused = sent(node, "PUT", "/m/scale", {"replicas": 2}, 409)
    assert "autoscale null" in refused["details"]
    assert sent(node, "PUT", "/m/scale", {"replicas": 2, "autoscale": None})["ready"] == 2


def test_without_a_replica_in_time_requests_are_told_when_to_ask_again(
    node: Node, models: list[str]
) -> None:
    body = {"name": "m", "template": template(models[0]), "replicas": 0, "hold_s": 0.2}
    sent(node, "POST", "", body, 201)
    reply = node.http.post("/services/m/predict", json={"inputs": [1]})
    assert (reply.status_code, reply.json()["error"]) == (503, "no_replica")
    assert reply.headers["retry-after"]


@pytest.fixture
def own_agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent that may be killed."""
    folder = tmp_path / "own"
    folder.mkdir()
    agent = start_agent(folder, resources={"cpu": 4, "memory": 8 * GIB, "storage": 20 * GIB})
    yield agent
    agent.stop()


def test_a_killed_agent_goes_on_with_what_was_asked(
    own_agent: AgentProcess, models: list[str]
) -> None:
    with Node(own_agent) as node:
        body = {"name": "m", "template": template(models[0]), "replicas": 3}
        reply = node.http.post("/api/services", json=body, params={"wait": False})
        assert reply.status_code == 201
        own_agent.kill()
    own_agent.restart()
    services = own_agent.client.services

    def settled(version: str) -> bool:
        shown = services.get("m")
        names = [each["version"] for each in shown["instances"] if each["status"] == "ready"]
        return names == [version] * 3 == [each["version"] for each in shown["instances"]]

    wait_until(lambda: settled("v1"), timeout_s=PATIENCE_S, what=lambda: str(services.get("m")))
    services.update("m", {"template": template(models[1])}, wait=False)
    own_agent.kill()
    own_agent.restart()
    services = own_agent.client.services
    wait_until(lambda: settled("v2"), timeout_s=PATIENCE_S, what=lambda: str(services.get("m")))
    assert len(own_agent.client.list()) == 3
    services.delete("m", wait=False)
    own_agent.kill()
    own_agent.restart()
    wait_until(
        lambda: not own_agent.client.services.list() and not own_agent.client.list(),
        timeout_s=PATIENCE_S,
        what="everything deleted",
    )


def test_who_waits_for_an_answer_gets_one_when_the_agent_goes(
    own_agent: AgentProcess, models: list[str], tmp_path: Path
) -> None:
    never = tmp_path / "never.py"
    never.write_text(
        "import time\ndef load():\n    time.sleep(600)\ndef predict(inputs):\n    ...\n"
    )
    none = {"name": "m", "template": template(models[0]), "replicas": 0, "hold_s": 600}
    unready = {"name": "n", "template": template(str(never))}
    with Node(own_agent) as node, ThreadPoolExecutor(2) as pool:
        sent(node, "POST", "", none, 201)
        asked = [
            pool.submit(node.http.post, "/services/m/predict", json={"inputs": [1]}),
            pool.submit(node.http.post, "/api/services", json=unready),
        ]
        wait_until(lambda: 'requests_waiting{service="m"} 1.0' in node.http.get("/metrics").text)
        wait_until(lambda: node.json(node.http.get("/api/workloads"))["count"] == 1)
        assert own_agent.terminate() == 0
        for reply in (each.result() for each in asked):
            assert (reply.status_code, reply.json()["error"]) == (503, "unavailable"), reply.text
            assert "is being stopped" in reply.json()["details"]
            assert reply.headers["retry-after"] and reply.headers["connection"] == "close"
    assert "Traceback" not in own_agent.log()
