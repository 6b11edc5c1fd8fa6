"""Whatever can be asked of a workload is asked of the agent it was given to, wherever it runs."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.node import Json, Node, process_spec, refused, until_told
from tests.support.agents import alive, wait_until
from tests.support.execs import answer, fed, heard, living, opened
from tests.tree.trees import NOTHING, Tree

FAR = pytest.mark.parametrize("where", ["nanjing", "suqian"], ids=["child", "peer of the child"])
ASKED_AT = pytest.mark.parametrize("asked_at", ["owner", "host"])


@pytest.fixture
def at(tree: Tree, where: str, asked_at: str) -> Node:
    return tree["jiangsu" if asked_at == "owner" else where]


def _sleeper(tree: Tree, where: str, **fields: object) -> Json:
    body = tree["jiangsu"].process("sleep", "600", node=where, **fields)
    assert (body["status"], body["node_id"], body["owner"]) == ("running", where, "jiangsu")
    return body


@FAR
@ASKED_AT
def test_look(tree: Tree, where: str, at: Node) -> None:
    body = _sleeper(tree, where, requirements={"cpu": 1.5})
    found = at.get(body["id"])
    assert found["status"] == "running" and alive(found["pid"])
    assert (found["node_id"], found["owner"], found["pid"]) == (where, "jiangsu", body["pid"])
    assert body["id"] in [it["id"] for it in at.json(at.http.get("/api/workloads"))["workloads"]]
    assert tree[where].used()["cpu"] == 1.5
    assert tree["jiangsu"].used() == NOTHING
    tree.wait_seen("jiangsu", where, lambda it: bool(it["used"]["cpu"] == 1.5))
    why = at.json(at.http.get(f"/api/workloads/{body['id']}/why"))
    assert (why["node"], why["status"]) == (where, "running")


@FAR
def test_a_command_inside_it_by_any_agent(tree: Tree, where: str) -> None:
    body = _sleeper(tree, where)
    knowing = {"jiangsu", "nanjing", where, "changzhou" if where == "nanjing" else where}
    for name in sorted(knowing):  # peers of a peer do not know each other
        agent = tree.agents[name]
        said = answer(agent, body, command=["sh", "-c", "cat; exit 3"], stdin="given")
        assert (said["stdout"], said["exit_code"]) == ("given", 3)
        with opened(agent, body["id"], command=["cat"], stdin=True) as socket:
            words, stdout, _ = fed(socket, b"x" * 1_000_000)
        assert (words["exit_code"], stdout) == (0, b"x" * 1_000_000)
    mark = f"left at {body['id']}"
    with opened(
        tree.agents["jiangsu"], body["id"], command=["sh", "-c", f"echo {mark}; sleep 600"]
    ) as socket:
        heard(socket, until=mark.encode())
    wait_until(lambda: not living(mark), timeout_s=30)
    with opened(tree.agents["changzhou"], str(uuid.uuid4()), command=["ls"]) as socket:
        assert heard(socket)[0]["error"] == "not_found"


@FAR
@ASKED_AT
def test_output(tree: Tree, where: str, at: Node) -> None:
    script = "for i in 1 2 3; do echo line $i; done"
    body = tree["jiangsu"].process("sh", "-c", script, node=where)
    tree["jiangsu"].wait_status(body["id"], "completed")
    assert at.logs(body["id"]) == ["line 1", "line 2", "line 3"]
    assert at.logs(body["id"], lines=1) == ["line 3"]


@FAR
@ASKED_AT
def test_output_as_it_comes(tree: Tree, where: str, at: Node) -> None:
    """Each line is read before the next one may be written, and the stream ends with the run."""
    gate = tree.agents[where].folder / f"gate-{uuid.uuid4()}"
    script = 'for i in 1 2 3; do echo line $i; while ! [ -e "$0.$i" ]; do sleep 0.02; done; done'
    body = tree["jiangsu"].process("sh", "-c", script, str(gate), node=where)
    params = {"follow": "true", "lines": "0"}
    with at.http.stream("GET", f"/api/workloads/{body['id']}/logs", params=params) as reply:
        assert reply.status_code == 200
        lines = reply.iter_lines()
        for number in (1, 2, 3):
            assert next(lines) == f"line {number}"
            gate.with_name(f"{gate.name}.{number}").touch()
        assert list(lines) == []
    assert at.wait_status(body["id"], "completed")["exit_code"] == 0


@FAR
@ASKED_AT
def test_usage(tree: Tree, where: str, at: Node) -> None:
    body = _sleeper(tree, where)
    usage = f"/api/workloads/{body['id']}/usage"
    assert at.json(at.http.get(usage))["processes"] >= 1
    wait_until(lambda: at.json(at.http.get(usage))["rss_bytes"] > 0)  # it may be amid its exec


@FAR
@ASKED_AT
def test_stop_and_restart(tree: Tree, where: str, at: Node) -> None:
    body = _sleeper(tree, where, requirements={"cpu": 1})
    stopped = at.stop(body["id"])
    assert (stopped["status"], stopped["status_reason"]) == ("stopped", "stopped_by_user")
    assert not alive(body["pid"])
    assert tree[where].used() == NOTHING
    assert tree["jiangsu"].get(body["id"])["status"] == "stopped"
    again = at.json(at.http.post(f"/api/workloads/{body['id']}/restart"))
    assert (again["status"], again["attempt"]) == ("running", 2)
    assert alive(again["pid"]) and again["pid"] != body["pid"]
    third = at.json(at.http.post(f"/api/workloads/{body['id']}/restart"))
    assert (third["status"], third["attempt"]) == ("running", 3)
    assert not alive(again["pid"])
    assert tree[where].used()["cpu"] == 1


@FAR
@ASKED_AT
def test_delete(tree: Tree, where: str, at: Node) -> None:
    body = _sleeper(tree, where, requirements={"cpu": 1})
    assert tree.runs(where) == [body["id"]]
    reply = at.http.delete(f"/api/workloads/{body['id']}")
    assert reply.status_code == 200, reply.text
    assert not alive(body["pid"])
    for name in ("jiangsu", where):
        refused(tree[name].http.get(f"/api/workloads/{body['id']}"), 404, "not_found")
    tree.wait_bare(where)


@FAR
@ASKED_AT
def test_wrong_in_this_state(tree: Tree, where: str, at: Node) -> None:
    body = tree["jiangsu"].process("true", node=where)
    tree["jiangsu"].wait_status(body["id"], "completed")
    tree[where].wait_status(body["id"], "completed")
    refused(at.http.post(f"/api/workloads/{body['id']}/stop"), 409, "wrong_state", says=body["id"])
    refused(at.http.get(f"/api/workloads/{body['id']}/usage"), 409, "wrong_state")


@FAR
def test_what_failed_says_why_from_afar(tree: Tree, where: str) -> None:
    root = tree["jiangsu"]
    body = root.process("sh", "-c", "echo no such luck; exit 7", node=where)
    failed = root.wait_status(body["id"], "failed")
    assert (failed["status_reason"], failed["exit_code"]) == ("exit_nonzero", 7)
    assert failed["log_tail"] == ["no such luck"]
    missing = root.process("no-such-command", node=where)
    assert missing["status"] == "failed", missing
    assert "no-such-command" in missing["status_detail"]
    killed = root.process("sh", "-c", "kill -9 $$", node=where)
    assert root.wait_status(killed["id"], "failed")["exit_signal"] == "SIGKILL"


@FAR
def test_a_restart_policy_holds_far_away(tree: Tree, where: str) -> None:
    root = tree["jiangsu"]
    policy = {"policy": "on_failure", "attempts": 2, "backoff_s": 0.01}
    body = root.process("false", node=where, restart=policy)
    failed = root.wait_status(body["id"], "failed")
    assert (failed["status_reason"], failed["restarts"], failed["attempt"]) == ("crash_loop", 2, 3)


@FAR
def test_events_at_the_root_tell_of_it(tree: Tree, tmp_path: Path, where: str) -> None:
    root = tree["jiangsu"]
    told: list[str] = []
    with root.events() as events:
        next(events)
        spec = process_spec(*until_told(tmp_path / "go"), node=where)
        body = root.submit(spec, wait="false")
        for event in events:
            data = event["data"]
            if event["event"] == "workload" and data["workload_id"] == body["id"]:
                told.append(data["status"])
                if data["status"] == "running":
                    (tmp_path / "go").touch()
                if data["status"] == "completed":
                    break
    assert list(dict.fromkeys(told)) == ["pending", "running", "completed"]


@FAR
def test_a_stop_overtakes_a_start(tree: Tree, where: str) -> None:
    root = tree["jiangsu"]
    for _ in range(10):
        body = root.submit(process_spec("sleep", "600", node=where), wait="false")
        stopped = root.stop(body["id"])
        assert stopped["status"] == "stopped"
        assert tree[where].used() == NOTHING
    assert {it["status"] for it in tree.listed(where)} <= {"stopped"}


@FAR
def test_a_delete_overtakes_a_start(tree: Tree, where: str) -> None:
    root = tree["jiangsu"]
    for _ in range(10):
        body = root.submit(process_spec("sleep", "600", node=where), wait="false")
        reply = root.http.delete(f"/api/workloads/{body['id']}")
        assert reply.status_code == 200, reply.text
        refused(root.http.get(f"/api/workloads/{body['id']}"), 404, "not_found")
    tree.wait_bare(where)


# --- one id, one workload ------------------------------------------------------------------------


def test_asked_twice_started_once(tree: Tree) -> None:
    spec = process_spec("sleep", "600", node="suqian", id=str(uuid.uuid4()))
    root = tree["jiangsu"]
    first = root.http.post("/api/workloads", json=spec)
    second = root.http.post("/api/workloads", json=spec)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["pid"] == second.json()["pid"]
    assert tree.runs("suqian") == [spec["id"]]


def test_asked_many_times_at_once_started_once(tree: Tree) -> None:
    spec = process_spec("sleep", "600", node="suqian", id=str(uuid.uuid4()))
    replies = _at_once([lambda: tree["jiangsu"].http.post("/api/workloads", json=spec)] * 12)
    assert sorted(status for status, _ in replies) == [200] * 11 + [201]
    assert len({body["pid"] for _, body in replies}) == 1
    assert [it["id"] for it in tree.listed("suqian")] == [spec["id"]]
    assert tree.runs("suqian") == [spec["id"]]


def test_one_id_for_two_specs(tree: Tree) -> None:
    spec = process_spec("sleep", "600", node="suqian", id=str(uuid.uuid4()))
    tree["jiangsu"].submit(spec)
    other = {**spec, "name": "another"}
    refused(tree["jiangsu"].http.post("/api/workloads", json=other), 409, "conflict", says="id")
    # The host keeps it for another agent: the same request there is not the same workload.
    refused(tree["suqian"].http.post("/api/workloads", json=other), 409, "conflict", says="id")
    assert tree["suqian"].get(spec["id"])["owner"] == "jiangsu"


def test_one_id_at_two_agents_for_one_host(tree: Tree) -> None:
    """Two owners cannot have the same id on one node: the second one is told so."""
    spec = process_spec("sleep", "600", node="suqian", id=str(uuid.uuid4()))
    first = tree["jiangsu"].submit(spec)
    tree["nanjing"].submit(spec, wait="false")
    wait_until(
        lambda: tree["nanjing"].get(spec["id"])["status_reason"] == "no_capacity",
        timeout_s=20,
        what=lambda: str(tree["nanjing"].get(spec["id"])),
    )
    assert "suqian" in tree["nanjing"].get(spec["id"])["status_detail"]
    assert tree["suqian"].get(spec["id"])["pid"] == first["pid"]
    assert tree["jiangsu"].get(spec["id"])["status"] == "running"


def _at_once(calls: list[Callable[[], object]]) -> list[tuple[int, Json]]:
    barrier = threading.Barrier(len(calls))
    found: list[tuple[int, Json]] = []

    def ask(call: Callable[[], object]) -> None:
        barrier.wait()
        reply = call()
        found.append((reply.status_code, reply.json()))  # type: ignore[attr-defined]

    threads = [threading.Thread(target=ask, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(calls)
    return found
