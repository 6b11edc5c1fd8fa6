"""Ports of services: asked for, picked, taken by one of ours, taken by a stranger."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from cnet._support.ports import free_ports
from tests.api.node import Json, Node, refused


def _opencv(**config: object) -> Json:
    return {"name": "faces", "type": "opencv", "config": config}


@contextmanager
def _listener() -> Iterator[int]:
    """A stranger: this very process listens on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("names", [("service_port",), ("port",), ("port", "service_port")])
def test_asked_for(node: Node, names: tuple[str, ...]) -> None:
    (port,) = free_ports(1)
    body = node.submit(_opencv(**dict.fromkeys(names, port)))
    assert body["status"] == "running", body
    assert (body["endpoint"], body["service_port"]) == (f"http://localhost:{port}", port)
    assert httpx.get(f"{body['endpoint']}/health").status_code == 200


def test_picked_by_the_agent(node: Node) -> None:
    first = node.submit(_opencv(service_host="127.0.0.1"))
    second = node.submit(_opencv(service_port=0, service_host="127.0.0.1"))
    assert first["endpoint"] != second["endpoint"]
    for body in (first, second):
        assert body["endpoint"] == f"http://127.0.0.1:{body['service_port']}"
        assert httpx.get(f"{body['endpoint']}/health").json()["status"] == "healthy"


def test_held_by_another_workload(node: Node) -> None:
    first = node.submit(_opencv())
    port = urlsplit(first["endpoint"]).port
    reply = node.http.post("/api/workloads", json=_opencv(service_port=port))
    refused(reply, 409, "port_taken", says=f"{port} is held by workload {first['id']}")
    node.stop(first["id"])
    again = node.submit(_opencv(service_port=port))
    assert (again["status"], again["service_port"]) == ("running", port)


def test_held_by_a_stranger(node: Node) -> None:
    with _listener() as port:
        reply = node.http.post("/api/workloads", json=_opencv(service_port=port))
        refused(reply, 409, "port_taken", says=f"(pid {os.getpid()})")
    assert node.json(node.http.get("/api/workloads"))["count"] == 0


def test_lost_to_a_stranger_while_waiting(node: Node) -> None:
    """Free at the submit, taken when room came: failed with the reason, holding nothing."""
    first = node.process("sleep", "60", requirements={"cpu": 4})
    (port,) = free_ports(1)
    waiting = node.submit(_opencv(service_port=port) | {"requirements": {"cpu": 1}})
    assert waiting["status"] == "pending"
    with socket.create_server(("127.0.0.1", port)):
        node.stop(first["id"])
        failed = node.wait_status(waiting["id"], "failed")
    assert failed["status_reason"] == "port_taken"
    assert f"(pid {os.getpid()})" in failed["status_detail"]
    assert node.used()["cpu"] == 0


def test_kept_over_a_restart(node: Node) -> None:
    first = node.submit(_opencv())
    after = node.json(node.http.post(f"/api/workloads/{first['id']}/restart"))
    assert (after["status"], after["endpoint"]) == ("running", first["endpoint"])
    assert after["process_pid"] != first["process_pid"]
