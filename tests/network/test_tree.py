"""Real agents on a real network that is cut: members, leases, kills, and what they leave alone."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from tools.partitions.evidence import Evidence, Run
from tools.partitions.world import World

from tests.network.conftest import LEASE_S
from tests.support.agents import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]


def submit(world: World, owner: str, evidence: Evidence, **spec: Any) -> str:
    body = {
        "id": str(uuid.uuid4()),
        "name": "network",
        "type": "process",
        "config": evidence.config(),
        "requirements": {"cpu": 0.5, "memory": 32 * 1024**2},
        "stop_grace_s": 1,
    } | spec
    status, answer = world[owner].call("POST", "/api/workloads?wait=false", body)
    assert status == 201, answer
    return str(answer["id"])


def shown(world: World, asked: str, workload_id: str) -> tuple[str, str | None]:
    item = world[asked].get(f"/api/workloads/{workload_id}")
    return item["status"], item["status_reason"]


def await_shown(world: World, asked: str, workload_id: str, *wanted: str | None) -> None:
    wait_until(
        lambda: shown(world, asked, workload_id) == wanted,
        timeout_s=30,
        what=lambda: f"{asked} says {shown(world, asked, workload_id)}, not {wanted}",
    )


def await_runs(evidence: Evidence, workload_id: str, count: int) -> list[Run]:
    wait_until(lambda: len(evidence.runs(workload_id)) == count, timeout_s=30, what="its runs")
    return evidence.runs(workload_id)


def run_from(world: World, owner: str, evidence: Evidence, **spec: Any) -> tuple[str, Run]:
    """Submit to `owner` and wait: the id, and the only run of it."""
    workload_id = submit(world, owner, evidence, **spec)
    await_shown(world, owner, workload_id, "running", None)
    [run] = await_runs(evidence, workload_id, 1)
    return workload_id, run


def test_a_node_that_nobody_can_connect_to_is_a_full_member(
    world: World, evidence: Evidence
) -> None:
    for owner in ("root", "other", "child"):
        workload_id, run = run_from(world, owner, evidence, node="child")
        assert run.place == world.network.inode("child")
        status, logs = world[owner].call("GET", f"/api/workloads/{workload_id}/logs")
        assert (status, logs["logs"]) == (200, [])
        status, _ = world[owner].call("POST", f"/api/workloads/{workload_id}/stop", timeout_s=30)
        assert status == 200
        await_shown(world, owner, workload_id, "stopped", "stopped_by_user")
        assert not run.lives()
        status, _ = world[owner].call("DELETE", f"/api/workloads/{workload_id}", timeout_s=30)
        assert status == 200
    # Up by its own link, and across:
    workload_id, run = run_from(world, "child", evidence, node="other")
    assert run.place == world.network.inode("other")


def test_one_that_waits_is_left_alone_while_its_node_is_cut_off(
    world: World, evidence: Evidence
) -> None:
    workload_id, run = run_from(world, "root", evidence, node="child")
    undo = world.isolate("child")
    await_shown(world, "root", workload_id, "running", "node_unreachable")
    undo()
    await_shown(world, "root", workload_id, "running", None)
    assert evidence.runs(workload_id)[0].process == run.process
    assert run.lives()


@pytest.mark.parametrize("agent", ["alive", "killed", "frozen"])
def test_one_that_reschedules_never_runs_twice(
    world: World, evidence: Evidence, agent: str
) -> None:
    spread = {"on_node_loss": "reschedule", "affinity": [{"node_labels": {"away": "yes"}}]}
    for name in ("child", "other"):
        body = {"labels": {"away": "yes"}}
        assert world[name].call("PATCH", f"/api/nodes/{name}/labels", body)[0] == 200
    workload_id, first = run_from(world, "root", evidence, **spread)
    lost = next(n for n in ("child", "other") if world.network.inode(n) == first.place)
    undo = world.isolate(lost)
    if agent == "killed":
        world[lost].kill()
    elif agent == "frozen":
        world[lost].pause()
    first, second = await_runs(evidence, workload_id, 2)
    assert second.place != first.place
    assert evidence.overlap_s(workload_id) is None
    print(
        f"{agent}: replaced {second.began - first.last:.2f} s after it ended, lease {LEASE_S:g} s"
    )
    undo()
    world.revive()
    world.await_views()
    await_shown(world, "root", workload_id, "running", None)
    wait_until(lambda: workload_id not in world[lost].workloads(), what="the old one forgotten")
    assert len(evidence.runs(workload_id)) == 2
    assert second.lives()
    assert not any(world[lost].used().values())


def test_far_work_outlives_its_owner_and_is_followed_again(
    world: World, evidence: Evidence
) -> None:
    workload_id, run = run_from(world, "root", evidence, node="child")
    world["root"].kill()
    world["root"].start()
    world.await_views()  # the children have come back by themselves
    await_shown(world, "root", workload_id, "running", None)
    assert run.lives()
    status, _ = world["root"].call("DELETE", f"/api/workloads/{workload_id}", timeout_s=30)
    assert status == 200
    assert not run.lives()
    assert len(evidence.runs(workload_id)) == 1


def test_asked_for_many_times_at_once_it_starts_once(world: World, evidence: Evidence) -> None:
    workload_id = str(uuid.uuid4())
    answers: list[tuple[int, str]] = []

    def ask() -> None:
        body = {
            "id": workload_id,
            "name": "network",
            "type": "process",
            "node": "child",
            "config": evidence.config(),
        }
        status, answer = world["root"].call("POST", "/api/workloads?wait=false", body)
        answers.append((status, answer["id"]))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {workload for _, workload in answers} == {workload_id}
    assert sorted(status for status, _ in answers) == [200] * 7 + [201]
    await_shown(world, "root", workload_id, "running", None)
    await_runs(evidence, workload_id, 1)


def test_stopped_while_cut_off_it_stops_when_the_link_is_back(
    world: World, evidence: Evidence
) -> None:
    workload_id, run = run_from(world, "root", evidence, node="child")
    undo = world.isolate("child")
    await_shown(world, "root", workload_id, "running", "node_unreachable")
    path = f"/api/workloads/{workload_id}/stop?wait=false"
    status, answer = world["root"].call("POST", path)
    assert status in (200, 202), answer
    assert run.lives()
    undo()
    await_shown(world, "root", workload_id, "stopped", "stopped_by_user")
    assert not run.lives()


def test_what_was_taken_back_from_a_lost_node_is_not_kept_there(
    world: World, evidence: Evidence
) -> None:
    workload_id, _ = run_from(world, "root", evidence, node="child", on_node_loss="reschedule")
    path = f"/api/workloads/{workload_id}"
    assert world["root"].call("POST", f"{path}/stop", timeout_s=30)[0] == 200
    await_shown(world, "root", workload_id, "stopped", "stopped_by_user")
    undo = world.isolate("child")
    assert world["root"].call("POST", f"{path}/restart?wait=false")[0] in (200, 202)
    wait_until(
        lambda: world["root"].get(path)["status_reason"] == "no_capacity",
        timeout_s=30,
        what="its lease is over",
    )
    assert world["root"].call("DELETE", path, timeout_s=30)[0] == 200
    undo()
    wait_until(lambda: not world["child"].workloads(), timeout_s=30, what="nothing is kept")
    assert len(evidence.runs(workload_id)) == 1


def test_a_leased_one_is_restarted_again_and_again_without_a_fault(
    world: World, evidence: Evidence
) -> None:
    workload_id = submit(world, "root", evidence, node="child", on_node_loss="reschedule")
    for count in range(1, 6):
        await_shown(world, "root", workload_id, "running", None)
        runs = await_runs(evidence, workload_id, count)
        assert [run.lives() for run in runs] == [False] * (count - 1) + [True]
        path = f"/api/workloads/{workload_id}/restart?wait=false"
        assert world["root"].call("POST", path)[0] in (200, 202)
    await_runs(evidence, workload_id, 6)
    for member in world.each():
        assert "drive_failed" not in member.log
