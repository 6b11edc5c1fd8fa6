"""What finds no room waits, and is placed by the very event that makes room."""

from __future__ import annotations

from pathlib import Path

from tests.api.node import Json, Node, until_told
from tests.support.agents import alive


def _of(node: Node, cpu: float, name: str) -> Json:
    return node.process("sleep", "60", name=name, requirements={"cpu": cpu})


def test_waiting_says_what_is_missing(node: Node) -> None:
    _of(node, 3, "first")
    waiting = _of(node, 2.5, "second")
    assert (waiting["status"], waiting["status_reason"]) == ("pending", "no_capacity")
    assert waiting["status_detail"] == "nanjing: cpu 1.5 cores short"
    assert "pid" not in waiting and "started_at" not in waiting
    assert node.used()["cpu"] == 3


def test_placed_by_the_stop_that_makes_room(node: Node) -> None:
    """The answer to the stop and the start of the next are one step, not a look round."""
    first = _of(node, 4, "first")
    second = _of(node, 4, "second")
    with node.events() as events:
        next(events)
        node.stop(first["id"])
        statuses = []
        for event in events:
            if event["event"] != "workload":
                continue
            statuses.append((event["data"]["name"], event["data"]["status"]))
            if statuses[-1] == ("second", "running"):
                break
    assert statuses == [
        ("first", "running"),  # stopping
        ("first", "stopped"),
        ("second", "pending"),  # starting
        ("second", "running"),
    ]
    assert alive(node.get(second["id"])["pid"])
    assert node.used()["cpu"] == 4


def test_placed_by_an_end(node: Node, tmp_path: Path) -> None:
    node.process(*until_told(tmp_path / "go"), requirements={"cpu": 4})
    second = _of(node, 4, "second")
    assert second["status"] == "pending"
    (tmp_path / "go").touch()
    node.wait_status(second["id"], "running")


def test_placed_by_a_deletion(node: Node) -> None:
    first = _of(node, 4, "first")
    second = _of(node, 4, "second")
    node.http.delete(f"/api/workloads/{first['id']}")
    node.wait_status(second["id"], "running")


def test_first_come_first_served(node: Node) -> None:
    running = _of(node, 4, "0")
    waiting = [_of(node, 4, str(number)) for number in range(1, 5)]
    for following in waiting:
        node.stop(running["id"])
        running = node.wait_status(following["id"], "running")
        left = waiting[waiting.index(following) + 1 :]
        assert {node.get(it["id"])["status"] for it in left} <= {"pending"}
        assert node.used()["cpu"] == 4


def test_a_small_one_may_pass_one_that_does_not_fit(node: Node) -> None:
    _of(node, 3, "first")
    big = _of(node, 4, "big")
    small = _of(node, 1, "small")
    assert (small["status"], node.get(big["id"])["status"]) == ("running", "pending")


def test_a_waiting_one_can_be_stopped_and_holds_nothing(node: Node) -> None:
    first = _of(node, 4, "first")
    second = _of(node, 4, "second")
    stopped = node.stop(second["id"])
    assert (stopped["status"], stopped["status_reason"]) == ("stopped", "stopped_by_user")
    assert "exit_code" not in stopped
    node.stop(first["id"])
    assert node.get(second["id"])["status"] == "stopped"
    assert node.used()["cpu"] == 0


def test_restart_of_a_waiting_one_leaves_it_waiting(node: Node) -> None:
    _of(node, 4, "first")
    second = _of(node, 4, "second")
    reply = node.http.post(f"/api/workloads/{second['id']}/restart")
    assert (reply.status_code, reply.json()["status"]) == (200, "pending")


def test_a_restarted_one_stands_at_the_end_of_the_queue(node: Node) -> None:
    first = _of(node, 4, "first")
    second = _of(node, 4, "second")
    after = node.json(node.http.post(f"/api/workloads/{first['id']}/restart"))
    assert (after["status"], after["status_reason"]) == ("pending", "no_capacity")
    assert node.wait_status(second["id"], "running")["pid"]
    node.stop(second["id"])
    node.wait_status(first["id"], "running")
