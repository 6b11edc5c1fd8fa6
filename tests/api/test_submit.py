"""What a submit may look like, what is refused and with which words, and asking twice."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.api.node import Json, Node, process_spec, refused
from tests.support.agents import wait_until

SLEEP = process_spec("sleep", "60")
GIB = 1024**3


def _with(**fields: Any) -> Json:
    return SLEEP | fields


def _config(**fields: Any) -> Json:
    return SLEEP | {"config": {"command": "sleep", "args": ["60"]} | fields}


def _service(kind: str, **config: Any) -> Json:
    return {"name": "test", "type": kind, "config": config}


def _without(name: str) -> Json:
    return {key: value for key, value in SLEEP.items() if key != name}


INVALID: list[tuple[Json, str]] = [
    (_without("name"), "name"),
    (_with(name=""), "name"),
    (_with(name="x" * 129), "name"),
    (_with(name="a/b"), "name"),
    (_with(name="a\nb"), "name"),
    (_with(name=7), "name"),
    (_with(name=None), "name"),
    (_without("type"), "type"),
    (_with(type="container"), "type"),
    (_with(type=["process"]), "type"),
    (_with(id="not-a-uuid"), "id"),
    (_with(requirements=[]), "requirements"),
    (_with(requirements={"cpu": -1}), "requirements.cpu"),
    (_with(requirements={"cpu": "many"}), "requirements.cpu"),
    (_with(requirements={"cpu": None}), "requirements.cpu"),
    (_with(requirements={"cpu": 1e9}), "requirements.cpu"),
    (_with(requirements={"gpu": 0.5}), "requirements.gpu"),
    (_with(requirements={"gpu": -1}), "requirements.gpu"),
    (_with(requirements={"memory": 1.5}), "requirements.memory"),
    (_with(requirements={"memory": -1}), "requirements.memory"),
    (_with(requirements={"memory": 2**70}), "requirements.memory"),
    (_with(requirements={"storage": "1 GiB"}), "requirements.storage"),
    (_with(requirements={"disk": 1}), "requirements.disk"),
    (_with(config=[]), "config"),
    (_with(config={}), "config.command"),
    (_config(command=""), "config.command"),
    (_config(command=["sleep"]), "config.command"),
    (_config(command="sle\0ep"), "config.command"),
    (_config(args="60"), "config.args"),
    (_config(args=[["60"]]), "config.args.0"),
    (_config(args=["6\x000"]), "config.args"),
    (_config(env=["A=1"]), "config.env"),
    (_config(env={"A": {"b": 1}}), "config.env.A"),
    (_config(env={"A=B": "1"}), "config.env"),
    (_config(env={"": "1"}), "config.env"),
    (_config(secret_env={"A": None}), "config.secret_env.A"),
    (_config(working_dir="/no/such/folder"), "config.working_dir"),
    (_config(working_dir="x" * 300), "config.working_dir"),
    (_config(working_dir="/etc/passwd"), "config.working_dir"),
    (_config(comand="sleep"), "config.comand"),
    (_with(queue="perhaps"), "queue"),
    (_with(labels={"a": 1}), "labels.a"),
    (_with(labels={"a": "\x07"}), "labels"),
    (_with(labels=["a"]), "labels"),
    (_with(limits={"cpu": 0}), "limits.cpu"),
    (_with(limits={"pids": 0}), "limits.pids"),
    (_with(limits={"memory": 1}), "limits.memory"),
    (_with(restart={"policy": "sometimes"}), "restart.policy"),
    (_with(restart={"attempts": -1}), "restart.attempts"),
    (_with(restart={"backoff_s": -0.1}), "restart.backoff_s"),
    (_with(health={"ready_timeout_s": 0}), "health.ready_timeout_s"),
    (_with(health={"failures": 0}), "health.failures"),
    (_with(stop_grace_s=-1), "stop_grace_s"),
    (_with(stop_grace_s=1e9), "stop_grace_s"),
    (_with(run_as="no-such-user"), "run_as"),
    (_with(run_as="a\0b"), "run_as"),
    (_with(runas="nobody"), "runas"),
    (_service("opencv", cascade_type="nose"), "config.cascade_type"),
    (_service("opencv", cascade_path="no/such.xml"), "config.cascade_path"),
    (_service("opencv", service_port=70_000), "config.service_port"),
    (_service("opencv", service_port="http"), "config.service_port"),
    (_service("opencv", port=9000, service_port=9001), "config"),
    (_service("opencv", service_host="no.such.host.invalid"), "config.service_host"),
    (_service("opencv", service_host="x" * 70), "config.service_host"),
    (_service("mlmodel", model_path="m.onnx"), "config.model_type"),
    (_service("mlmodel", model_path="m.onnx", framework="mxnet"), "config.model_type"),
    (_service("mlmodel", model_type="yolo"), "config.model_path"),
    (_service("mlmodel", model_type="yolo", model_path="no/such.onnx"), "config.model_path"),
    (_service("mlmodel", model_type="yolo", model_path="m\0"), "config.model_path"),
    (_service("mlmodel", model_type="yolo", model_path="m", confidence=0), "config.confidence"),
    (_service("mlmodel", model_type="yolo", model_path="m", labels=["a,b"]), "config.labels"),
    (_service("mlmodel", model_type="onnx", model_path="m", confidence=0.3), "config.confidence"),
    (_service("mlmodel", model_type="onnx", model_path="no/such.onnx"), "config.model_path"),
    (
        _service("mlmodel", model_type="onnx", model_path="m", allow_joblib=True),
        "config.allow_joblib",
    ),
    (_service("mlmodel", framework="scikit-learn", model_path="m", labels=["a"]), "config.labels"),
    (_service("mlmodel", model_type="onnx", model_path="m", class_name="A"), "config.class_name"),
    (_service("mlmodel", framework="keras", model_path="no/such/folder"), "config.model_path"),
    (_service("mlmodel", framework="torch", model_path="no/such.pt"), "config.model_path"),
    (
        _service("mlmodel", framework="torch", model_path="m", script_path="no/such.py"),
        "config.script_path",
    ),
    (
        _service("mlmodel", framework="torch", model_path="m", inputs={"x": ["FP31", [-1]]}),
        "config.inputs.x.0",
    ),
    (_service("mlmodel", model_type="onnx", model_path="m", max_batch=0), "config.max_batch"),
    (
        _service("mlmodel", model_type="custom", model_path="m", class_name="a b"),
        "config.class_name",
    ),
    (
        _service("mlmodel", model_type="sklearn", model_path="m", trusted_types=["a b"]),
        "config.trusted_types",
    ),
]


@pytest.mark.parametrize(("spec", "field"), INVALID, ids=[f for _, f in INVALID])
def test_a_wrong_field_is_named_and_nothing_is_kept(node: Node, spec: Json, field: str) -> None:
    refused(node.http.post("/api/workloads", json=spec), 422, "invalid_field", field=field)
    assert node.json(node.http.get("/api/workloads"))["count"] == 0


def test_a_typing_mistake_is_told_with_all_that_is_wrong(node: Node) -> None:
    spec = _config(comand="x") | {"nmae": "y"}
    body = refused(node.http.post("/api/workloads", json=spec), 422, "invalid_field")
    assert "nmae: unknown field" in body["details"]


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"],
)
def test_json_with_any_charset_parameter(node: Node, content_type: str) -> None:
    content = httpx.Request("POST", "http://x", json=process_spec("true")).content
    reply = node.http.post(
        "/api/workloads", content=content, headers={"content-type": content_type}
    )
    assert reply.status_code == 201


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "json", ";;;"]
)
def test_other_content_types(node: Node, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    reply = node.http.post("/api/workloads", content=b"{}", headers=headers)
    refused(reply, 415, "unsupported_media_type", says="application/json")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"name": "x",}',
        b"\xff\xfe{}",
        b'{"name": "\xed\xa0\x80"}',
        b'{"name": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b"NaN",
    ],
    ids=["empty", "cut", "comma", "encoding", "surrogate", "escape", "open", "deep", "nan"],
)
def test_a_body_that_is_not_json(node: Node, content: bytes) -> None:
    reply = node.http.post(
        "/api/workloads", content=content, headers={"content-type": "application/json"}
    )
    refused(reply, 400, "malformed_body", says="body")


@pytest.mark.parametrize("content", [b"[]", b"null", b"7", b'"text"'])
def test_a_body_that_is_no_object(node: Node, content: bytes) -> None:
    reply = node.http.post(
        "/api/workloads", content=content, headers={"content-type": "application/json"}
    )
    refused(reply, 422, "invalid_field", field="body")


def test_unknown_ids(node: Node) -> None:
    for unknown in (str(uuid.uuid4()), "yolo", "%00", "a%2Fb"):
        path = f"/api/workloads/{unknown}"
        for method, route in (
            ("GET", path),
            ("DELETE", path),
            ("POST", f"{path}/stop"),
            ("POST", f"{path}/restart"),
            ("GET", f"{path}/logs"),
            ("GET", f"{path}/usage"),
        ):
            refused(node.http.request(method, route), 404, "not_found")


def test_unknown_routes_and_methods(node: Node) -> None:
    refused(node.http.get("/api/nothing"), 404, "not_found", says="/api/nothing")
    refused(node.http.get("/nothing"), 404, "not_found")
    for method, path, allowed in (
        ("PUT", "/api/workloads", {"GET", "POST"}),
        ("POST", "/api/health", {"GET"}),
        ("PATCH", f"/api/workloads/{uuid.uuid4()}", {"GET", "DELETE"}),
    ):
        reply = node.http.request(method, path)
        refused(reply, 405, "method_not_allowed", says=method)
        assert set(reply.headers["allow"].split(", ")) == allowed


def test_a_body_over_the_limit(node: Node) -> None:
    """Announced, it is refused before it is sent; unannounced, as soon as it is too much."""
    url = urlsplit(node.agent.url)
    assert url.hostname is not None and url.port is not None
    with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
        connection.sendall(
            b"POST /api/workloads HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 2000000\r\n\r\n"
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")

    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 50_000

    reply = node.http.post(
        "/api/workloads", content=chunks(), headers={"content-type": "application/json"}
    )
    assert "content-length" not in reply.request.headers
    refused(reply, 413, "too_large", says="1048576")
    assert node.json(node.http.get("/api/health"))["status"] == "healthy"


def test_the_same_id_is_the_same_workload(node: Node) -> None:
    spec = SLEEP | {"id": str(uuid.uuid4())}
    first = node.http.post("/api/workloads", json=spec)
    again = node.http.post("/api/workloads", json=spec)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.json()["id"] == spec["id"]
    other = node.http.post("/api/workloads", json=spec | {"name": "other"})
    refused(other, 409, "conflict", says=spec["id"])
    assert node.json(node.http.get("/api/workloads"))["count"] == 1


def test_the_same_id_at_the_same_moment_starts_once(node: Node) -> None:
    marker = str(uuid.uuid4())
    spec = process_spec("sh", "-c", f"echo {marker}; exec sleep 60") | {"id": marker}
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda _: node.http.post("/api/workloads", json=spec), range(8)))
    assert sorted(reply.status_code for reply in replies) == [200] * 7 + [201]
    assert len({reply.json()["pid"] for reply in replies}) == 1
    wait_until(lambda: node.logs(marker) != [], what="no output")
    assert node.logs(marker) == [marker]
    assert node.get(marker)["attempt"] == 1


def test_no_room_now_and_no_wish_to_wait(node: Node) -> None:
    node.process("sleep", "60", requirements={"cpu": 3})
    spec = SLEEP | {"requirements": {"cpu": 2}, "queue": False}
    body = refused(node.http.post("/api/workloads", json=spec), 409, "no_capacity")
    assert body["reasons"] == ["nanjing: cpu 1 cores short"]
    assert node.json(node.http.get("/api/workloads"))["count"] == 1


@pytest.mark.parametrize(
    ("requirements", "reason"),
    [
        ({"cpu": 4.001}, "nanjing: too small: cpu 0.001 cores short"),
        ({"gpu": 3}, "nanjing: too small: gpu 1 device short"),
        ({"memory": 9 * GIB}, "nanjing: too small: memory 1 GiB short"),
        ({"storage": 30 * GIB}, "nanjing: too small: storage 10 GiB short"),
    ],
)
def test_what_no_node_could_ever_hold(node: Node, requirements: Json, reason: str) -> None:
    reply = node.http.post("/api/workloads", json=SLEEP | {"requirements": requirements})
    assert refused(reply, 409, "no_capacity")["reasons"] == [reason]


def test_not_waiting_for_the_start(node: Node) -> None:
    body = node.submit(SLEEP, wait="false")
    assert body["status"] in {"pending", "running"}
    assert node.wait_status(body["id"], "running")["pid"]


def test_numbers_are_taken_as_text_in_commands(node: Node) -> None:
    body = node.process("sleep", config={"args": [60.5], "env": {"N": 7, "B": True}})
    assert (body["args"], body["env"]) == (["60.5"], {"N": "7", "B": "true"})


def test_a_command_that_is_not_there(node: Node) -> None:
    body = node.process("no-such-program", requirements={"cpu": 1})
    assert (body["status"], body["status_reason"]) == ("failed", "exec_failed")
    assert "no-such-program" in body["status_detail"]
    assert "pid" not in body
    assert node.used()["cpu"] == 0


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 0", {"status": "completed", "exit_code": 0, "status_reason": None}),
        ("exit 7", {"status": "failed", "exit_code": 7, "status_reason": "exit_nonzero"}),
        (
            "kill -9 $$",
            {
                "status": "failed",
                "exit_code": -1,
                "exit_signal": "SIGKILL",
                "status_reason": "signalled",
            },
        ),
    ],
)
def test_how_it_ended(node: Node, script: str, expected: Json) -> None:
    began = node.process("sh", "-c", f"echo said; {script}", requirements={"memory": 1 << 26})
    ended = node.wait(began["id"], lambda it: "ended_at" in it)
    assert {name: ended[name] for name in expected} == expected
    assert ended.get("log_tail", []) == ([] if ended["status"] == "completed" else ["said"])
    assert "pid" not in ended and "process_pid" not in ended
    assert ended["started_at"] <= ended["ended_at"]
    assert node.used()["memory"] == 0
