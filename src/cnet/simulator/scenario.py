"""By chance: trees of machines, workloads, what users do with them, and what goes wrong."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from cnet.model.resources import GIB, MIB, Resources
from cnet.model.workload import Strategy, WorkloadSpec
from cnet.simulator.agent import Agent
from cnet.simulator.machine import Doom, Machine, Record
from cnet.simulator.network import Link, Network, Weather
from cnet.simulator.timeline import Timeline
from cnet.simulator.witness import Witness

DEEPEST = 5
LARGE = 200
RUSHES = 4
"""Moments at which many users want something at once."""
SIZES: Final = (
    Resources(500, 0, 512 * MIB, 10 * GIB),
    Resources(4000, 0, 8 * GIB, 100 * GIB),
    Resources(8000, 1, 16 * GIB, 200 * GIB),
    Resources(16000, 4, 64 * GIB, 400 * GIB),
)
REQUIREMENTS: Final = (
    {"cpu": 0.25, "memory": GIB // 4},
    {"cpu": 1, "memory": GIB},
    {"cpu": 2, "memory": 4 * GIB},
    {"cpu": 3.5, "memory": 6 * GIB},
    {"cpu": 1, "gpu": 1, "memory": 2 * GIB},
    {"cpu": 6, "memory": 12 * GIB},
)
STRATEGIES: Final[tuple[Strategy, ...]] = ("default", "best_fit", "least_loaded", "spread")
APPS: Final = ("web", "db", "train")


def build_tree(nodes: int, timeline: Timeline, network: Network, witness: Witness) -> list[Machine]:
    """Machines of few sizes in a tree with some peers.

    In a large one few know more than what is below them: as in the field, and so that it fits into
    memory.
    """
    chance = timeline.chance
    large = nodes > LARGE
    fan_out = chance.randint(20, 50) if large else chance.randint(2, 6)
    lease_s = chance.choice((3.0, 6.0, 15.0))
    strategy = chance.choice(STRATEGIES)
    machines: list[Machine] = []
    depths = [0]
    children = [0] * nodes
    may_have_more: list[int] = []
    for number in range(nodes):
        machine = Machine(
            f"n{number:02}",
            timeline,
            witness,
            capacity=chance.choice(SIZES),
            kinds=("container", "process") if chance.random() < 0.3 else ("process",),
            labels={"zone": chance.choice("ab")},
            strategy=strategy,
            lease_s=lease_s,
            shares=not large and chance.random() < 0.4,
            escalates=not large and chance.random() < 0.4,
        )
        if number:
            at = 0 if large else chance.randrange(len(may_have_more))
            above = may_have_more[at]
            children[above] += 1
            if children[above] == fan_out and len(may_have_more) > 1:
                del may_have_more[at]
            depths.append(depths[above] + 1)
            machine.parent_id = machines[above].node_id
            network.join(machine, machines[above], parental=True)
        if depths[number] < DEEPEST or not may_have_more:
            may_have_more.append(number)
        machines.append(machine)
        witness.machines[machine.node_id] = machine
    for _ in range(nodes // 5):
        one, other = chance.sample(machines, 2)
        _make_peers(one, other, network)
    return machines


def _make_peers(one: Machine, other: Machine, network: Network) -> None:
    joined = other.node_id in one.peers or one.node_id == other.parent_id
    if joined or other.node_id == one.parent_id:
        return
    one.peers += (other.node_id,)
    other.peers += (one.node_id,)
    network.join(one, other, parental=False)


def draw_weather(timeline: Timeline) -> Weather:
    """How bad the links of this run are."""
    chance = timeline.chance
    kind = chance.choice(("fair", "fair", "slow", "bad"))
    if kind == "fair":
        return Weather()
    if kind == "slow":
        return Weather(0.01, 0.4)
    return Weather(
        0.0005,
        0.2,
        loss=chance.random() * 0.1,
        doubling=chance.random() * 0.3,
        longest_echo_s=chance.choice((0.5, 5.0, 30.0)),
        reordering=chance.random() * 0.1,
    )


def draw_spec(timeline: Timeline, machines: list[Machine], *, brief: bool = False) -> WorkloadSpec:
    """A workload such as users ask for."""
    chance = timeline.chance
    asked: dict[str, Any] = {
        "name": "w",
        "type": "container" if chance.random() < 0.15 else "process",
        "requirements": chance.choice(REQUIREMENTS),
        "config": {
            "exit_code": int(chance.random() < 0.3),
            "lasts_s": None if not brief and chance.random() < 0.6 else chance.uniform(0.5, 60),
        },
        "stop_grace_s": chance.choice((0.0, 0.5, 3.0)),
        "on_node_loss": chance.choice(("wait", "reschedule")),
    }
    if chance.random() < 0.3:
        asked["labels"] = {"app": chance.choice(APPS)}
    if brief:
        return WorkloadSpec.model_validate(asked)
    asked["queue"] = chance.random() < 0.9
    asked["priority"] = chance.choice((0, 0, 0, 5, 10))
    asked["preemptible"] = chance.random() < 0.3
    if chance.random() < 0.1:
        asked["node"] = chance.choice(machines).node_id
    if chance.random() < 0.2:
        asked["strategy"] = chance.choice(STRATEGIES)
    if chance.random() < 0.3:
        asked["restart"] = {"policy": "on_failure", "attempts": 2, "backoff_s": 0.5}
    term = {
        "required": chance.random() < 0.5,
        **(
            {"node_labels": {"zone": chance.choice(("a", "b", "*"))}}
            if chance.random() < 0.5
            else {"workload_labels": {"app": chance.choice(APPS)}}
        ),
    }
    if chance.random() < 0.3:
        asked[chance.choice(("affinity", "anti_affinity"))] = [term]
    return WorkloadSpec.model_validate(asked)


def _any_write(_write: tuple[str, Record | None]) -> bool:
    return True


def _delegates(write: tuple[str, Record | None]) -> bool:
    record = write[1]
    return record is not None and record.status.host is not None and not record.status.answered


def _hosts(write: tuple[str, Record | None]) -> bool:
    record = write[1]
    return record is not None and record.status.owner is not None


class Users:
    """Submit, stop, restart and delete, each at the agent they like."""

    def __init__(self, timeline: Timeline, machines: list[Machine]) -> None:
        self._timeline = timeline
        self._machines = machines
        self._brief = len(machines) > LARGE
        self._given: list[tuple[Machine, str]] = []

    def busy(self, workloads: int, lasting_s: float) -> None:
        """Plan what they do in the time from now on."""
        rushes = [self._timeline.between(0, lasting_s) for _ in range(RUSHES)]
        for _ in range(workloads):
            moment = self._timeline.between(0, lasting_s)
            if not self._brief and self._timeline.happens(0.5):
                moment = self._timeline.chance.choice(rushes) + self._timeline.between(0, 0.1)
            self._timeline.after(moment, self._submit)
        for _ in range(workloads // 10 if self._brief else workloads):
            self._timeline.after(self._timeline.between(0, lasting_s), self._ask)

    def _submit(self) -> None:
        timeline = self._timeline
        chance = timeline.chance
        machine = self._machines[0] if chance.random() < 0.3 else chance.choice(self._machines)
        spec = draw_spec(timeline, self._machines, brief=self._brief)
        # 48 bits, to be read more easily: with 32 two of a hundred thousand clash.
        job_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))[:13]
        if machine.agent is not None:
            self._given.append((machine, job_id))
            machine.agent.handle(machine.agent.submit, job_id, spec)

    def _ask(self) -> None:
        chance = self._timeline.chance
        if not self._given:
            return
        machine, job_id = chance.choice(self._given)
        desired = chance.choice(("stopped", "running", "deleted"))
        if machine.agent is not None:
            machine.agent.handle(machine.agent.ask, job_id, desired)


class Nemesis:
    """Cuts, breaks, kills, freezes; every fault ends by itself."""

    def __init__(
        self,
        timeline: Timeline,
        network: Network,
        machines: list[Machine],
        new_agent: Callable[[Machine], Agent],
    ) -> None:
        self._timeline = timeline
        self._network = network
        self._machines = machines
        self._new_agent = new_agent
        self._faults: tuple[Callable[[], None], ...] = (
            self._cut,
            self._cut,
            self._flap,
            self._isolate,
            self._crash,
            self._crash_writing,
            self._crash_writing,
            self._reboot,
            self._freeze,
            self._drain,
        )

    def busy(self, faults: int, lasting_s: float) -> None:
        """Plan what goes wrong in the time from now on."""
        for _ in range(faults):
            fault = self._timeline.chance.choice(self._faults)
            self._timeline.after(self._timeline.between(0, lasting_s), fault)

    def _cut(self) -> None:
        link = self._timeline.chance.choice(self._network.links)
        ends = ((link.dialler, link.answerer), (link.dialler,), (link.answerer,))
        self._cut_for([(link, self._timeline.chance.choice(ends))])

    def _isolate(self) -> None:
        machine = self._timeline.chance.choice(self._machines)
        self._cut_for(
            [(link, (link.dialler, link.answerer)) for link in self._network.links_of(machine)]
        )

    def _cut_for(self, links: list[tuple[Link, tuple[Machine, ...]]]) -> None:
        lasts_s = self._timeline.between(0.5, 40)
        for link, ends in links:
            names = " and ".join(machine.node_id for machine in ends)
            self._timeline.note(f"FAULT nothing reaches {names} over their link")
            self._network.cut(link, ends)
            self._timeline.after(lasts_s, self._network.heal, link)

    def _flap(self) -> None:
        link = self._timeline.chance.choice(self._network.links)
        self._timeline.note(f"FAULT link {link.dialler.node_id} - {link.answerer.node_id} breaks")
        self._network.flap(link)

    def _crash_writing(self) -> None:
        machine = self._timeline.chance.choice(self._machines)
        kind = self._timeline.chance.choice((_any_write, _delegates, _hosts, _hosts))
        machine.doom = Doom(kind, partial(self._crash, machine))

    def _crash(self, machine: Machine | None = None) -> None:
        machine = machine or self._timeline.chance.choice(self._machines)
        if self._kill(machine, silently=False):
            self._timeline.after(self._timeline.between(0.3, 25), self._start, machine)

    def _reboot(self) -> None:
        machine = self._timeline.chance.choice(self._machines)
        if self._kill(machine, silently=True):
            machine.reboot()
            self._timeline.after(self._timeline.between(4, 25), self._start, machine)

    def _kill(self, machine: Machine, *, silently: bool) -> bool:
        agent = machine.agent
        if agent is None:
            return False
        how = "machine" if silently else "agent"
        self._timeline.note(f"FAULT the {how} of {machine.node_id} dies")
        agent.crash()
        machine.agent = None
        self._network.agent_dies(machine, silently=silently)
        return True

    def _start(self, machine: Machine) -> None:
        self._new_agent(machine).start()

    def _freeze(self) -> None:
        agent = self._timeline.chance.choice(self._machines).agent
        if agent is not None and not agent.frozen:
            self._timeline.note(f"FAULT {agent.node_id} is frozen")
            agent.freeze()
            self._network.agent_freezes(agent.machine)
            self._timeline.after(self._timeline.between(0.5, 25), self._thaw, agent)

    def _thaw(self, agent: Agent) -> None:
        self._timeline.note(f"{agent.node_id} goes on")
        agent.thaw()

    def _drain(self) -> None:
        machine = self._timeline.chance.choice(self._machines)
        self._set_draining(machine, draining=True)
        self._timeline.after(self._timeline.between(1, 30), self._set_draining, machine, False)

    def _set_draining(self, machine: Machine, draining: bool) -> None:
        machine.draining = draining
        if machine.agent is not None:
            machine.agent.handle(machine.agent.self_changed)
