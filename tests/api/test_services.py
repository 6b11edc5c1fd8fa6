"""Services that crash, hang, or never become ready: restarted with backoff, or failed and why."""

from __future__ import annotations

import os
import signal
from datetime import datetime
from pathlib import Path

import httpx

from tests.api.node import Json, Node
from tests.support.agents import alive, wait_until

ROOM = {"cpu": 1, "memory": 512 * 1024**2}


def _opencv(**fields: object) -> Json:
    return {"name": "faces", "type": "opencv", "config": {}, "requirements": ROOM, **fields}


def _crash(node: Node, body: Json) -> None:
    """SIGKILL to the service itself; returns when the agent knows."""
    os.kill(body["process_pid"], signal.SIGKILL)
    node.wait(body["id"], lambda it: it.get("process_pid") != body["process_pid"])


def test_three_restarts_with_backoff_then_a_crash_loop(node: Node) -> None:
    body = node.submit(_opencv(restart={"policy": "on_failure", "backoff_s": 0.1}))
    endpoint, pids = body["endpoint"], [body["process_pid"]]
    with node.events(workload=body["id"]) as events:
        for number in (1, 2, 3):
            _crash(node, body)
            body = node.wait_status(body["id"], "running")
            assert (body["restarts"], body["attempt"]) == (number, number + 1)
            assert body["endpoint"] == endpoint
            assert httpx.get(f"{endpoint}/health").status_code == 200
            assert node.used()["cpu"] == 1
            pids.append(body["process_pid"])
        _crash(node, body)
        told = []
        for event in events:
            told.append(event["data"])
            if event["data"]["status"] == "failed":
                break
    assert len(set(pids)) == 4
    pauses = [it["status_detail"] for it in told if it["status_reason"] == "restarting"]
    assert pauses == [
        f"ended by signal SIGKILL; restart {number} of 3 in {pause} s"
        for number, pause in ((1, "0.1"), (2, "0.2"), (3, "0.4"))
    ]
    _check_pauses(told)
    failed = node.get(body["id"])
    assert (failed["status_reason"], failed["restarts"]) == ("crash_loop", 3)
    assert (failed["exit_code"], failed["exit_signal"]) == (-1, "SIGKILL")
    assert "3 restarts used up" in failed["status_detail"]
    assert any("listening on" in line for line in failed["log_tail"])
    assert node.used()["cpu"] == 0 and node.used()["memory"] == 0
    assert not [pid for pid in pids if alive(pid)]


def test_a_hung_service_is_noticed_and_restarted(node: Node) -> None:
    """SIGSTOP: the kernel still accepts connections for it, nobody answers."""
    # A probe must have its time on a busy machine too: else the next run is restarted as well.
    health = {"interval_s": 0.1, "timeout_s": 1.5, "failures": 2}
    spec = _opencv(
        health=health, stop_grace_s=0.2, restart={"policy": "on_failure", "backoff_s": 0}
    )
    body = node.submit(spec)
    with node.events(workload=body["id"]) as events:
        os.kill(body["process_pid"], signal.SIGSTOP)
        for event in events:
            if event["data"]["status_reason"] == "restarting":
                assert "2 probes failed in a row" in event["data"]["status_detail"]
                break
    after = node.wait_status(body["id"], "running")
    assert (after["restarts"], after["endpoint"]) == (1, body["endpoint"])
    assert after["process_pid"] != body["process_pid"]
    assert not alive(body["process_pid"])
    assert httpx.get(f"{after['endpoint']}/health").json()["status"] == "healthy"


def test_a_service_that_pauses_for_less_is_left_alone(node: Node) -> None:
    health = {"interval_s": 0.1, "timeout_s": 0.2, "failures": 100}
    body = node.submit(_opencv(health=health))
    os.kill(body["process_pid"], signal.SIGSTOP)
    already = node.agent.log().count("probe_failed")
    wait_until(lambda: node.agent.log().count("probe_failed") >= already + 2)
    os.kill(body["process_pid"], signal.SIGCONT)
    assert httpx.get(f"{body['endpoint']}/health").status_code == 200
    after = node.get(body["id"])
    assert (after["status"], after["restarts"]) == ("running", 0)
    assert after["process_pid"] == body["process_pid"]


def test_a_wrong_model_is_told_at_once(node: Node, tmp_path: Path) -> None:
    model = tmp_path / "garbage.onnx"
    model.write_bytes(b"this is no model" * 100)
    config = {"model_type": "yolo", "model_path": str(model)}
    spec = {"name": "wrong", "type": "mlmodel", "config": config, "requirements": ROOM}
    reply = node.http.post("/api/workloads", json=spec)
    assert reply.status_code == 201
    failed = reply.json()
    assert (failed["status"], failed["restarts"], failed["attempt"]) == ("failed", 0, 1)
    assert (failed["status_reason"], failed["exit_code"]) == ("exit_nonzero", 2)
    assert any("garbage.onnx" in line for line in failed["log_tail"])
    assert "process_pid" not in failed
    assert node.used()["cpu"] == 0
    assert node.logs(failed["id"])[-len(failed["log_tail"]) :] == failed["log_tail"]


def test_not_ready_in_time(node: Node) -> None:
    health = {"ready_timeout_s": 0.05, "timeout_s": 0.05}
    failed = node.submit(_opencv(health=health, stop_grace_s=0.1))
    assert (failed["status"], failed["status_reason"]) == ("failed", "not_ready")
    assert "not ready within 0.05 s" in failed["status_detail"]
    assert (failed["restarts"], failed["attempt"]) == (0, 1)
    assert node.used()["cpu"] == 0


def test_a_service_that_ends_by_itself_did_not_do_well(node: Node) -> None:
    """SIGTERM by a stranger makes it end with 0; it was not asked to by its user."""
    body = node.submit(_opencv(restart={"policy": "never"}))
    os.kill(body["process_pid"], signal.SIGTERM)
    failed = node.wait_status(body["id"], "failed")
    assert (failed["status_reason"], failed["exit_code"]) == ("exited", 0)


def test_stop_while_it_is_becoming_ready(node: Node) -> None:
    body = node.submit(_opencv(), wait="false")
    stopped = node.stop(body["id"])
    assert stopped["status"] == "stopped"
    assert node.used()["cpu"] == 0


def _check_pauses(told: list[Json]) -> None:
    """Between the end of a run and the next attempt lies at least the pause, doubled each time."""
    for pause, end, following in zip((0.1, 0.2, 0.4), *_restarts(told), strict=True):
        waited = _time(following) - _time(end)
        # Waited by the monotonic clock, told by the wall clock: they may differ by a tick.
        assert waited >= pause - 0.02


def _restarts(told: list[Json]) -> tuple[list[Json], list[Json]]:
    """The events of ends that were followed by a restart, and the events right after them."""
    at = [index for index, it in enumerate(told) if it["status_reason"] == "restarting"]
    assert all(told[index + 1]["status_reason"] == "starting" for index in at)
    return [told[index] for index in at], [told[index + 1] for index in at]


def _time(event: Json) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()
