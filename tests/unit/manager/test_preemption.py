"""Who may be ended for others, and that a node says no more of it than is so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.manager import Manager
from cnet.manager.own_node import OwnNode
from cnet.manager.placing import Alone, Placing
from cnet.manager.workloads import Workload
from cnet.model.lifecycle import TRANSITIONS, Event, Phase, step
from cnet.model.resources import Resources
from cnet.model.workload import RestartPolicy, WorkloadSpec, WorkloadStatus
from cnet.register import Ledger
from tests.unit.manager.scripted import Bench, bench

ALL = Resources(cpu=4000)
LOW: dict[str, Any] = {
    "requirements": {"cpu": 4},
    "preemptible": True,
    "restart": {"policy": "on_failure", "backoff_s": 3600},
}
HIGH = WorkloadSpec.model_validate(
    {"name": "high", "type": "scripted", "requirements": {"cpu": 4}, "priority": 10}
)


def _offered(manager: Manager) -> list[str]:
    """Ids of what may be ended; what other nodes are told must say the same."""
    chosen = list(Placing(manager, Alone()).preemptible())
    room: dict[int, Resources] = {}
    for _, priority, wanted, _ in chosen:
        room[priority] = room.get(priority, Resources()) + wanted
    assert manager.own_node.state().preemptible == tuple(sorted(room.items()))
    return [name for name, *_ in chosen]


async def _low_in_its_pause(it: Bench) -> str:
    name = await it.submit(**LOW)
    it.executor.runs[f"{name}.1"].end(1)
    await it.until(name, Phase.BACKOFF)
    return name


@pytest.mark.anyio
async def test_what_runs_is_ended_for_a_higher_priority_and_queued_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        low = await it.submit(**LOW)
        assert _offered(it.manager) == [low]
        high, _ = await it.manager.submit(HIGH)
        await it.until(high.id, Phase.RUNNING)
        await it.until(low, Phase.PENDING)
        assert _offered(it.manager) == []


@pytest.mark.anyio
async def test_in_its_restart_pause_a_workload_is_not_ended_for_others(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        low = await _low_in_its_pause(it)
        assert _offered(it.manager) == []
        high, _ = await it.manager.submit(HIGH)
        # Looked at for the second time, now behind whatever the first look has set going.
        it.manager.coordinator.look_again()
        await it.manager.drain(False)
        assert high.status.phase == Phase.PENDING
        assert it.manager.get(low).status.phase == Phase.BACKOFF
        await it.manager.restart(low)
        await it.until(high.id, Phase.RUNNING)
        await it.until(low, Phase.PENDING)


@pytest.mark.anyio
async def test_one_whose_run_ends_just_when_it_is_chosen_is_left_alone(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        low = it.manager.get(await _low_in_its_pause(it))
        await it.manager.preempt(low)
        assert (low.status.phase, low.status.desired) == (Phase.BACKOFF, "running")


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 100)), max_size=60))
def test_a_node_offers_the_room_of_what_starts_or_runs(steps: list[tuple[int, int]]) -> None:
    node = OwnNode("n", Ledger(ALL), ["scripted"], incarnation=1)
    workloads = [_workload(number) for number in range(3)]
    for workload in workloads:
        node.count(workload, None)
    for number, choice in steps:
        workload = workloads[number]
        before = workload.status
        possible = [event for phase, event in TRANSITIONS if phase == before.phase]
        phase, _ = step(before.phase, possible[choice % len(possible)])
        workload.change(phase=phase)
        node.count(workload, before)
        expected = [
            (each.spec.priority, each.wanted)
            for each in workloads
            if each.status.phase in {Phase.STARTING, Phase.RUNNING}
        ]
        assert node.state().preemptible == tuple(expected)


def test_what_was_placed_and_then_refused_is_not_offered() -> None:
    node = OwnNode("n", Ledger(ALL), ["scripted"], incarnation=1)
    workload = _workload(1)
    workload.step(Event.PLACED)
    node.count(workload, None)
    assert node.state().preemptible == ((1, workload.wanted),)
    node.discount(workload)
    assert node.state().preemptible == ()


def _workload(priority: int) -> Workload:
    spec = WorkloadSpec.model_validate(
        {
            "name": "w",
            "type": "scripted",
            "requirements": {"cpu": priority + 1},
            "priority": priority,
            "preemptible": True,
        }
    )
    return Workload(
        f"w{priority}", spec, WorkloadStatus(), executor=None, config=None, restart=RestartPolicy()
    )
