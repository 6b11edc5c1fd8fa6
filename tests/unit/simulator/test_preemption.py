"""A simulated agent offers the same jobs for preemption as a real one."""

from __future__ import annotations

from typing import Any

import pytest

from cnet.model.lifecycle import Phase
from cnet.model.resources import Resources
from cnet.model.workload import WorkloadSpec
from cnet.simulator.agent import Agent
from cnet.simulator.simulation import Simulation

BACKOFF_S = 100.0


def _spec(lasts_s: float | None, **more: Any) -> WorkloadSpec:
    return WorkloadSpec.model_validate(
        {
            "name": "w",
            "type": "process",
            "requirements": {"cpu": 1},
            "config": {"exit_code": 1, "lasts_s": lasts_s},
            **more,
        }
    )


@pytest.fixture
def simulation() -> Simulation:
    return Simulation(1, seed=1)


@pytest.fixture
def agent(simulation: Simulation) -> Agent:
    machine = simulation.machines[0]
    machine.capacity = Resources(cpu=1000)
    agent = simulation.new_agent(machine)
    agent.start()
    return agent


def test_a_job_in_its_restart_pause_is_not_chosen(simulation: Simulation, agent: Agent) -> None:
    restart = {"policy": "on_failure", "attempts": 2, "backoff_s": BACKOFF_S}
    agent.submit("low", _spec(5.0, preemptible=True, restart=restart))
    low, high = agent.jobs_by_id["low"], _spec(None, priority=10)
    seen: dict[Phase, tuple[list[str], tuple[tuple[int, Resources], ...]]] = {}
    while low.status.phase != Phase.BACKOFF:
        simulation.timeline.step()
        agent.tell_of_self()
        node = agent.coordinator.known[agent.node_id].state
        seen[low.status.phase] = ([name for name, *_ in agent.preemptible()], node.preemptible)
    assert seen[Phase.RUNNING] == (["low"], ((0, low.wanted),))
    assert seen[Phase.BACKOFF] == ([], ())
    agent.submit("high", high)
    simulation.timeline.run_until(simulation.timeline.now + BACKOFF_S / 2)
    assert agent.jobs_by_id["high"].status.phase == Phase.PENDING
    assert (low.status.phase, low.status.desired) == (Phase.BACKOFF, "running")
    simulation.timeline.run_until(simulation.timeline.now + BACKOFF_S)
    assert agent.jobs_by_id["high"].status.phase == Phase.RUNNING
    assert (low.status.phase, low.status.desired) == (Phase.PENDING, "running")
