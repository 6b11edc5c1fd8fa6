"""Pages of workloads, and what they can be narrowed to."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.api.node import Json, Node, refused


def _list(node: Node, **params: Any) -> Json:
    return node.json(node.http.get("/api/workloads", params=params))


def test_pages_follow_the_cursor_oldest_first(node: Node) -> None:
    ids = [node.process("sleep", "60", name=str(number))["id"] for number in range(5)]
    first = _list(node, limit=2)
    assert ([it["id"] for it in first["workloads"]], first["count"]) == (ids[:2], 2)
    second = _list(node, limit=2, cursor=first["next_cursor"])
    third = _list(node, limit=2, cursor=second["next_cursor"])
    assert [it["id"] for it in second["workloads"] + third["workloads"]] == ids[2:]
    assert third["next_cursor"] is None
    exact = _list(node, limit=5)
    assert (exact["count"], exact["next_cursor"]) == (5, None)


def test_filters(node: Node) -> None:
    runs = node.process("sleep", "60", name="runs")
    fails = node.process("sh", "-c", "exit 1", name="fails")
    node.wait_status(fails["id"], "failed")
    for params, expected in (
        ({"status": "running"}, [runs["id"]]),
        ({"status": "failed"}, [fails["id"]]),
        ({"status": "pending"}, []),
        ({"type": "process"}, [runs["id"], fails["id"]]),
        ({"type": "opencv"}, []),
        ({"name": "fails"}, [fails["id"]]),
        ({"name": "fails", "status": "running"}, []),
        ({"cursor": runs["id"], "type": "process"}, [fails["id"]]),
    ):
        found = _list(node, **params)
        assert [it["id"] for it in found["workloads"]] == expected, params


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"status": "done"}, "status"),
        ({"cursor": str(uuid.uuid4())}, "cursor"),
        ({"cursor": ""}, "cursor"),
    ],
)
def test_wrong_parameters(node: Node, params: Json, field: str) -> None:
    reply = node.http.get("/api/workloads", params=params)
    refused(reply, 422, "invalid_field", field=field)


@pytest.mark.parametrize("route", ["/api/workloads?wait=perhaps", "/api/workloads/x/stop?wait=2"])
def test_a_wait_that_is_neither_true_nor_false(node: Node, route: str) -> None:
    reply = node.http.post(route, json={"name": "x", "type": "process"})
    refused(reply, 422, "invalid_field", field="wait")
