"""Stop, restart and delete in every state, twice, and at the same moment."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.api.node import Json, Node, process_spec, refused
from tests.support.agents import alive, wait_until

ALL = {"cpu": 4}
ENDED = frozenset({"completed", "failed", "stopped"})


def _ended(node: Node, script: str) -> Json:
    began = node.process("sh", "-c", script)
    return node.wait(began["id"], lambda it: it["status"] in ENDED)


def test_stop_is_answered_when_all_processes_are_gone(node: Node) -> None:
    """Grandchildren that ignore SIGTERM, and one that left the process group, included."""
    script = "trap '' TERM; setsid sleep 301 & sh -c 'trap \"\" TERM; sleep 302; sleep 303' & wait"
    body = node.process("sh", "-c", script, stop_grace_s=0.3, requirements=ALL)
    wait_until(lambda: len(_descendants(body["pid"])) >= 3, what="no children")
    tree = [body["pid"], *_descendants(body["pid"])]
    stopped = node.stop(body["id"])
    assert not [pid for pid in tree if alive(pid)]
    assert (stopped["status"], stopped["status_reason"]) == ("stopped", "stopped_by_user")
    assert stopped["desired"] == "stopped"
    assert (stopped["exit_code"], stopped["exit_signal"]) == (-1, "SIGKILL")
    assert node.used()["cpu"] == 0


def test_a_program_may_end_in_its_own_way_when_stopped(node: Node) -> None:
    script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    body = node.process("sh", "-c", script)
    wait_until(lambda: node.logs(body["id"]) == ["ready"])
    stopped = node.stop(body["id"])
    assert (stopped["status"], stopped["exit_code"]) == ("stopped", 3)
    assert node.logs(body["id"])[-1] == "bye"  # shells tell of the killed sleep before it


def test_stop_is_idempotent_also_at_the_same_moment(node: Node) -> None:
    body = node.process("sleep", "60")
    path = f"/api/workloads/{body['id']}/stop"
    with ThreadPoolExecutor(6) as threads:
        replies = list(threads.map(lambda _: node.http.post(path), range(6)))
    assert {reply.status_code for reply in replies} == {200}
    assert {reply.json()["workload"]["status"] for reply in replies} == {"stopped"}
    again = node.http.post(path)
    assert again.status_code == 200
    assert again.json()["workload"]["ended_at"] == replies[0].json()["workload"]["ended_at"]


@pytest.mark.parametrize(("script", "status"), [("exit 0", "completed"), ("exit 1", "failed")])
def test_what_ended_by_itself_cannot_be_stopped(node: Node, script: str, status: str) -> None:
    ended = _ended(node, script)
    reply = node.http.post(f"/api/workloads/{ended['id']}/stop")
    refused(reply, 409, "wrong_state", says=status)
    assert node.get(ended["id"])["status"] == status


def test_stop_without_waiting(node: Node) -> None:
    body = node.process("sleep", "60")
    reply = node.http.post(f"/api/workloads/{body['id']}/stop", params={"wait": "false"})
    assert reply.status_code == 200
    assert reply.json()["workload"]["desired"] == "stopped"
    node.wait_status(body["id"], "stopped")


@pytest.mark.parametrize("state", ["running", "pending", "completed", "failed", "stopped"])
def test_delete_in_every_state(node: Node, state: str) -> None:
    if state == "pending":
        node.process("sleep", "60", requirements=ALL)
        body = node.process("sleep", "60", requirements=ALL)
    elif state in {"running", "stopped"}:
        body = node.process("sleep", "60")
    else:
        body = _ended(node, "exit 0" if state == "completed" else "exit 1")
    if state == "stopped":
        node.stop(body["id"])
    assert node.get(body["id"])["status"] == state
    folder = node.agent.data_dir / "runs" / body["id"]
    assert folder.exists() == (state != "pending")

    reply = node.http.delete(f"/api/workloads/{body['id']}")
    assert (reply.status_code, list(reply.json())) == (200, ["message"])
    assert not ("pid" in body and alive(body["pid"]))
    assert not folder.exists()
    refused(node.http.delete(f"/api/workloads/{body['id']}"), 404, "not_found")
    refused(node.http.get(f"/api/workloads/{body['id']}"), 404, "not_found")


def test_deletes_at_the_same_moment(node: Node) -> None:
    body = node.process("sleep", "60", requirements=ALL)
    path = f"/api/workloads/{body['id']}"
    with ThreadPoolExecutor(6) as threads:
        replies = list(threads.map(lambda _: node.http.delete(path), range(6)))
    codes = [reply.status_code for reply in replies]
    assert 200 in codes and set(codes) <= {200, 404}
    assert node.json(node.http.get("/api/workloads"))["count"] == 0


def _deaf(node: Node, go: Path) -> Json:
    """A process that does not hear SIGTERM, and ends when the file `go` is there."""
    script = "trap '' TERM; echo deaf; while [ ! -e \"$0\" ]; do sleep 0.01; done"
    body = node.process("sh", "-c", script, str(go), stop_grace_s=60)
    wait_until(lambda: node.logs(body["id"]) == ["deaf"])
    return body


def test_delete_wins_over_stop_and_restart(node: Node, tmp_path: Path) -> None:
    """Whatever arrives together with a delete, the workload is gone in the end."""
    body = _deaf(node, tmp_path / "go")
    path = f"/api/workloads/{body['id']}"
    began = node.http.delete(path, params={"wait": "false"})
    assert began.status_code == 200
    refused(node.http.post(f"{path}/restart"), 409, "wrong_state", says="deleted")
    assert node.http.post(f"{path}/stop", params={"wait": "false"}).status_code == 200
    (tmp_path / "go").touch()
    wait_until(lambda: node.http.get(path).status_code == 404)
    assert not alive(body["pid"])


def test_restart_of_a_running_one(node: Node) -> None:
    body = node.process("sleep", "60", requirements={"cpu": 3})
    reply = node.http.post(f"/api/workloads/{body['id']}/restart")
    assert reply.status_code == 200
    after = reply.json()
    assert (after["status"], after["attempt"], after["restarts"]) == ("running", 2, 0)
    assert after["pid"] != body["pid"]
    assert alive(after["pid"]) and not alive(body["pid"])
    assert node.used()["cpu"] == 3


@pytest.mark.parametrize("script", ["echo run", "echo run; exit 1"])
def test_restart_of_an_ended_one(node: Node, script: str) -> None:
    ended = _ended(node, script)
    reply = node.http.post(f"/api/workloads/{ended['id']}/restart")
    assert reply.status_code == 200
    after = node.wait(ended["id"], lambda it: it["attempt"] == 2 and it["status"] in ENDED)
    assert after["status"] == ended["status"]
    assert node.logs(ended["id"]) == ["run", "run"]
    assert node.used()["cpu"] == 0


def test_restart_of_a_stopped_one_forgets_its_end(node: Node) -> None:
    body = node.process("sleep", "60")
    node.stop(body["id"])
    after = node.json(node.http.post(f"/api/workloads/{body['id']}/restart"))
    assert (after["status"], after["desired"], after["status_reason"]) == (
        "running",
        "running",
        None,
    )
    assert "exit_code" not in after and "ended_at" not in after


def test_stop_overtakes_a_restart(node: Node, tmp_path: Path) -> None:
    body = _deaf(node, tmp_path / "go")
    path = f"/api/workloads/{body['id']}"
    for wish in ("restart", "stop"):
        assert node.http.post(f"{path}/{wish}", params={"wait": "false"}).status_code == 200
    (tmp_path / "go").touch()
    assert node.wait_status(body["id"], "stopped")["attempt"] == 1


def test_a_stop_that_a_restart_overtakes_is_told_so(node: Node, tmp_path: Path) -> None:
    body = _deaf(node, tmp_path / "go")
    path = f"/api/workloads/{body['id']}"
    with ThreadPoolExecutor(1) as thread:
        stop = thread.submit(node.http.post, f"{path}/stop")
        node.wait(body["id"], lambda it: it["desired"] == "stopped")
        assert node.http.post(f"{path}/restart", params={"wait": "false"}).status_code == 200
        (tmp_path / "go").touch()
        refused(stop.result(), 409, "wrong_state", says="restarted")
    assert node.wait(body["id"], lambda it: it["attempt"] == 2)["desired"] == "running"


def test_restart_policy_gives_up_after_its_attempts(node: Node) -> None:
    body = node.process(
        "sh",
        "-c",
        "echo run; exit 9",
        requirements={"cpu": 1},
        restart={"policy": "on_failure", "attempts": 2, "backoff_s": 0},
    )
    ended = node.wait_status(body["id"], "failed")
    assert (ended["status_reason"], ended["restarts"], ended["attempt"]) == ("crash_loop", 2, 3)
    assert "exited with 9" in ended["status_detail"]
    assert ended["exit_code"] == 9
    assert ended["log_tail"] == node.logs(body["id"]) == ["run"] * 3
    assert node.used()["cpu"] == 0


def test_restart_policy_on_failure_ends_with_success(node: Node, tmp_path: Path) -> None:
    script = f"test -e {tmp_path}/second && exit 0; touch {tmp_path}/second; exit 1"
    body = node.process("sh", "-c", script, restart={"policy": "on_failure", "backoff_s": 0})
    ended = node.wait(body["id"], lambda it: it["status"] in ENDED)
    assert (ended["status"], ended["restarts"], ended["exit_code"]) == ("completed", 1, 0)


def test_restart_policy_always_also_after_success(node: Node) -> None:
    restart = {"policy": "always", "attempts": 2, "backoff_s": 0}
    body = node.process("sh", "-c", "echo run", restart=restart)
    ended = node.wait(body["id"], lambda it: it["status"] in ENDED)
    assert (ended["status"], ended["restarts"]) == ("completed", 2)
    assert node.logs(body["id"]) == ["run"] * 3


def test_stop_during_the_pause_before_a_restart(node: Node) -> None:
    restart = {"policy": "on_failure", "backoff_s": 30}
    body = node.process("sh", "-c", "exit 1", requirements=ALL, restart=restart)
    waiting = node.wait(body["id"], lambda it: it["status_reason"] == "restarting")
    assert (waiting["status"], waiting["restarts"]) == ("pending", 1)
    assert "restart 1 of 3 in 30 s" in waiting["status_detail"]
    assert node.used()["cpu"] == 4
    assert node.stop(body["id"])["status"] == "stopped"
    assert node.used()["cpu"] == 0


def test_restart_during_the_pause_starts_at_once(node: Node) -> None:
    restart = {"policy": "on_failure", "backoff_s": 30}
    marker = str(uuid.uuid4())
    body = node.submit(process_spec("sh", "-c", "exit 1", restart=restart) | {"id": marker})
    node.wait(marker, lambda it: it["status_reason"] == "restarting")
    after = node.json(node.http.post(f"/api/workloads/{marker}/restart"))
    assert after["id"] == body["id"]
    node.wait(marker, lambda it: it["attempt"] == 2)


def _descendants(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]
