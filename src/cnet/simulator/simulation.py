"""One run: a tree, users, faults, peace, and whether everything is as it must be then."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from cnet.simulator.agent import Agent
from cnet.simulator.machine import Machine
from cnet.simulator.network import Network, Weather
from cnet.simulator.quiet import Quiet
from cnet.simulator.scenario import Nemesis, Users, build_tree, draw_spec, draw_weather
from cnet.simulator.timeline import Timeline
from cnet.simulator.witness import ViolationError, Witness

JOINING_S = 10.0
TROUBLE_S = 60.0
LONGEST_FAULT_S = 45.0
LOOK_EVERY_S = 3.0
PATIENCE_S = 450.0
"""After the last fault: the longest backoff, twice, and what a lease can take."""
PLANS_CHECKED = 3
FRESH_S = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of a run."""

    ok: bool
    summary: str
    violation: str | None
    events: int
    """that were handled"""
    starts: int
    """of processes"""
    digest: int
    """equal for two runs that went the same way"""
    story: tuple[str, ...] = ()


def run(
    *,
    nodes: int = 20,
    workloads: int = 60,
    seed: int = 0,
    faults: bool = True,
    keep_story: bool = False,
) -> Report:
    """Everything that happens follows from the arguments.

    `keep_story` keeps a line for whatever happens. Virtual time, so no clock is asked.
    """
    simulation = Simulation(nodes, seed, keep_story=keep_story)
    violation = None
    try:
        simulation.play(workloads, faults=faults)
    except ViolationError as error:
        violation = str(error)
    except Exception:  # noqa: BLE001 - whatever an agent raises is what is looked for
        violation = f"an agent fails:\n{traceback.format_exc()}"
    timeline = simulation.timeline
    starts = simulation.witness.starts_seen
    held = "every promise held" if violation is None else "a promise was broken"
    return Report(
        ok=violation is None,
        summary=f"{nodes} nodes, {workloads} workloads, {timeline.events} events in "
        f"{timeline.now:.0f} virtual s, {starts} runs: {held}",
        violation=violation,
        events=timeline.events,
        starts=starts,
        digest=timeline.digest,
        story=tuple(timeline.story or ()),
    )


class Simulation:
    """Machines, their agents, and all around them."""

    def __init__(self, nodes: int, seed: int, *, keep_story: bool = False) -> None:
        self.timeline = Timeline(seed, keep_story=keep_story)
        self.witness = Witness(self.timeline)
        self.network = Network(self.timeline)
        self.machines = build_tree(nodes, self.timeline, self.network, self.witness)

    def new_agent(self, machine: Machine) -> Agent:
        """A new life for the agent of a machine."""
        machine.agent = Agent(machine, self.timeline, self.network, self.witness)
        return machine.agent

    def play(self, workloads: int, *, faults: bool) -> None:
        """All of it. Raises ViolationError."""
        timeline = self.timeline
        for machine in self.machines:
            timeline.after(timeline.between(0, 2), self._start, machine)
        timeline.run_until(JOINING_S)
        Users(timeline, self.machines).busy(workloads, TROUBLE_S)
        if faults:
            self.witness.slow_disks = timeline.happens(0.3)
            self.network.weather = draw_weather(timeline)
            nemesis = Nemesis(timeline, self.network, self.machines, self.new_agent)
            nemesis.busy(
                timeline.chance.randint(min(3, len(self.machines)), len(self.machines)), TROUBLE_S
            )
        timeline.run_until(JOINING_S + TROUBLE_S + (LONGEST_FAULT_S if faults else 0))
        self.network.weather = Weather()
        for machine in self.machines:
            machine.doom = None
        self._settle()
        for _ in range(PLANS_CHECKED):
            self._plan_is_deed()

    def _start(self, machine: Machine) -> None:
        self.new_agent(machine).start()

    def _settle(self) -> None:
        quiet = Quiet(self.machines, self.network, self.witness)
        until = self.timeline.now + PATIENCE_S
        problem: str | None = "nothing was looked at"
        while problem is not None and self.timeline.now < until:
            self.timeline.run_until(self.timeline.now + LOOK_EVERY_S)
            problem = quiet.first_problem()
        if problem is not None:
            raise self.witness.fail(f"long after the last fault: {problem}")

    def _plan_is_deed(self) -> None:
        timeline = self.timeline
        agent = timeline.chance.choice(self.machines).agent
        if agent is None:
            raise self.witness.fail("an agent is missing in the end")
        spec = draw_spec(timeline, self.machines, brief=True)
        agent.tell_of_self()
        candidates = agent.coordinator.plan(spec).candidates
        job_id = f"fresh-{timeline.events}"
        agent.submit(job_id, spec)
        job = agent.jobs_by_id.get(job_id)
        status = None if job is None else job.status
        landed = None
        if status is not None:
            landed = status.host or (agent.node_id if status.holds_room else None)
        if landed != (candidates[0] if candidates else None):
            raise self.witness.fail(f"{job_id} went to {landed}, the plan was {candidates[:3]}")
        timeline.run_until(timeline.now + FRESH_S)
        if job is not None and job.status.host is not None and not job.status.answered:
            raise self.witness.fail(f"{job.status.host} never answered for {job_id}")
