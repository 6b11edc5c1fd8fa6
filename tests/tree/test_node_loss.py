"""`on_node_loss`: work of a lost node is started elsewhere, once its run there has surely ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.api.node import Json, process_spec
from tests.support.agents import alive, wait_until
from tests.tree.trees import NOTHING, PATIENCE_S, Tree, living, room, starts

LEASE = {"lease_s": 1}
HEARTBEAT = 'echo "start $$" >> "$0"; trap \'exit 0\' TERM; while :; do sleep 0.05 & wait; done'


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """jiangsu (no room) over nanjing and suqian; leases last one second."""
    with Tree(tmp_path_factory.mktemp("pair")) as tree:
        tree.launch("jiangsu", resources=room(0), scheduler=LEASE)
        for name in ("nanjing", "suqian"):
            tree.launch(name, parent="jiangsu", resources=room(2), scheduler=LEASE)
        tree.wait_healthy()
        tree.linked("jiangsu", "nanjing", "suqian")
        yield tree
        tree.shut_down()


@pytest.fixture
def tree(pair: Tree) -> Iterator[Tree]:
    yield pair
    pair.clean()


@pytest.fixture
def stamps(tmp_path: Path) -> Path:
    return tmp_path / "stamps"


def _leased(tree: Tree, stamps: Path, **fields: object) -> Json:
    """A run that may move; where it is first, only one of the two nodes has room at once."""
    body = tree["jiangsu"].submit(
        process_spec(
            "sh",
            "-c",
            HEARTBEAT,
            str(stamps),
            on_node_loss="reschedule",
            stop_grace_s=0.5,
            requirements={"cpu": 1},
            **fields,
        )
    )
    running: Json = tree["jiangsu"].wait_status(body["id"], "running")
    wait_until(lambda: starts(stamps) == [running["pid"]], timeout_s=PATIENCE_S)
    return running


def _other(name: str) -> str:
    return {"nanjing": "suqian", "suqian": "nanjing"}[name]


def _moved(tree: Tree, stamps: Path, first: Json) -> Json:
    """Wait until it runs on the other node; at no look may two of its runs be alive."""
    found: list[Json] = [first]

    def moved() -> bool:
        assert len(living(stamps)) <= 1, "two runs at once"
        found[0] = tree["jiangsu"].get(first["id"])
        elsewhere = found[0]["node_id"] == _other(first["node_id"])
        return elsewhere and found[0]["status"] == "running" and len(starts(stamps)) == 2

    wait_until(moved, timeout_s=PATIENCE_S, what=lambda: str(found[0]))
    assert not alive(first["pid"])
    assert living(stamps) == [found[0]["pid"]]
    return found[0]


def _nothing_doubled(tree: Tree, stamps: Path, second: Json, gone: str) -> None:
    """The node that was lost is back and clears up what is void."""
    tree.linked("jiangsu", gone)
    tree.wait_bare(gone)
    now = tree["jiangsu"].get(second["id"])
    assert (now["status"], now["pid"], now["node_id"]) == (
        "running",
        second["pid"],
        second["node_id"],
    )
    assert living(stamps) == [second["pid"]]
    assert len(starts(stamps)) == 2


def test_a_host_that_is_killed_and_comes_back(tree: Tree, stamps: Path) -> None:
    first = _leased(tree, stamps)
    lost = first["node_id"]
    tree.agents[lost].kill()
    wait_until(lambda: not alive(first["pid"]), timeout_s=PATIENCE_S, what="ended by its shim")
    second = _moved(tree, stamps, first)
    tree.agents[lost].restart()
    _nothing_doubled(tree, stamps, second, lost)


def test_a_host_that_is_frozen_and_goes_on(tree: Tree, stamps: Path) -> None:
    first = _leased(tree, stamps)
    lost = first["node_id"]
    os.kill(tree.agents[lost].pid, signal.SIGSTOP)
    try:
        second = _moved(tree, stamps, first)
    finally:
        os.kill(tree.agents[lost].pid, signal.SIGCONT)
    _nothing_doubled(tree, stamps, second, lost)


def test_a_lease_is_renewed_as_long_as_both_are_there(tree: Tree, stamps: Path) -> None:
    """Several leases pass: told by the clock of the run itself."""
    first = _leased(tree, stamps)
    process = psutil.Process(first["pid"])
    born = process.create_time()
    wait_until(
        lambda: time.time() - born > 5, timeout_s=PATIENCE_S, what="it did not live for five leases"
    )
    now = tree["jiangsu"].get(first["id"])
    assert (now["status"], now["pid"]) == ("running", first["pid"])
    assert process.is_running() and starts(stamps) == [first["pid"]]


def test_the_owner_is_killed_for_a_moment(tree: Tree, stamps: Path) -> None:
    """The run may outlive that or be ended by its lease; it is never there twice."""
    first = _leased(tree, stamps)
    tree.agents["jiangsu"].kill()
    tree.agents["jiangsu"].restart()
    tree.linked("jiangsu", "nanjing", "suqian")

    def settled() -> bool:
        assert len(living(stamps)) <= 1, "two runs at once"
        now = tree["jiangsu"].get(first["id"])
        return now["status"] == "running" and now.get("pid") in living(stamps)

    wait_until(settled, timeout_s=PATIENCE_S, what=lambda: str(tree["jiangsu"].get(first["id"])))


def test_the_owner_is_away_for_longer_than_the_lease(tree: Tree, stamps: Path) -> None:
    first = _leased(tree, stamps)
    tree.agents["jiangsu"].kill()
    wait_until(lambda: not alive(first["pid"]), timeout_s=PATIENCE_S, what="ended by its lease")
    tree.agents["jiangsu"].restart()
    tree.linked("jiangsu", "nanjing", "suqian")
    again = tree["jiangsu"].wait(
        first["id"],
        lambda it: it["status"] == "running" and it.get("pid") not in {None, first["pid"]},
    )
    wait_until(lambda: living(stamps) == [again["pid"]], timeout_s=PATIENCE_S)
    assert len(starts(stamps)) == 2


def test_one_that_is_to_wait_is_not_moved(tree: Tree, stamps: Path) -> None:
    body = tree["jiangsu"].process("sleep", "600", requirements={"cpu": 1})
    moving = _leased(tree, stamps, affinity=[])
    lost = body["node_id"]
    if moving["node_id"] != lost:
        tree["jiangsu"].http.delete(f"/api/workloads/{moving['id']}")
        stamps.unlink()
        moving = _leased(tree, stamps, node=lost)
    tree.agents[lost].kill()
    # By the time that the other one could have been started elsewhere, this one has not moved.
    tree["jiangsu"].wait(
        moving["id"],
        lambda it: it["node_id"] != lost or it["status_reason"] in {"no_capacity", "placing"},
    )
    now = tree["jiangsu"].get(body["id"])
    assert (now["node_id"], now["status_reason"]) == (lost, "node_unreachable")
    assert alive(body["pid"])
    tree.agents[lost].restart()
    tree.linked("jiangsu", lost)
    back = tree["jiangsu"].wait(body["id"], lambda it: it["status_reason"] is None)
    assert (back["pid"], back["attempt"]) == (body["pid"], 1)


def test_a_stop_of_a_lost_one_does_not_start_it_elsewhere(tree: Tree, stamps: Path) -> None:
    first = _leased(tree, stamps)
    lost = first["node_id"]
    tree.agents[lost].kill()
    tree["jiangsu"].wait(first["id"], lambda it: it["status_reason"] == "node_unreachable")
    reply = tree["jiangsu"].http.post(f"/api/workloads/{first['id']}/stop")
    assert reply.status_code == 202, reply.text
    tree["jiangsu"].wait_status(first["id"], "stopped")
    assert not alive(first["pid"]) and starts(stamps) == [first["pid"]]
    assert tree[_other(lost)].used() == NOTHING
    tree.agents[lost].restart()
    tree.linked("jiangsu", lost)
    wait_until(lambda: tree[lost].used() == NOTHING, timeout_s=PATIENCE_S)
    assert starts(stamps) == [first["pid"]]
