"""What must hold once faults are over and time was given: no difference between what agents say and
what is the case, and nobody waits for something that could be had."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator

from cnet.delegation.state import MIRRORED
from cnet.model.lifecycle import TERMINAL, Phase
from cnet.model.node import KnownNode
from cnet.model.resources import Resources
from cnet.register.view import LinkRole
from cnet.scheduler import fits
from cnet.simulator.agent import Agent
from cnet.simulator.job import Job
from cnet.simulator.machine import Machine
from cnet.simulator.network import Network
from cnet.simulator.witness import Witness

_SETTLED = TERMINAL | {Phase.RUNNING, Phase.PENDING}


class Quiet:
    """Compares all agents with each other and with the truth."""

    def __init__(self, machines: list[Machine], network: Network, witness: Witness) -> None:
        self._machines = machines
        self._network = network
        self._witness = witness
        self._to_know: dict[str, dict[str, int]] = {machine.node_id: {} for machine in machines}
        """agent → node that it is to know of → links between them"""
        for machine in machines:
            for node_id, hops in self._reach(machine).items():
                self._to_know[node_id][machine.node_id] = hops

    def first_problem(self) -> str | None:
        """None when all is as it must be."""
        return next(self._problems(), None)

    def _problems(self) -> Iterator[str]:
        for link in self._network.links:
            if not link.is_up:
                yield f"the link {link.dialler.node_id} - {link.answerer.node_id} is not up"
        for machine in self._machines:
            agent = machine.agent
            if agent is None or agent.frozen:
                yield f"{machine.node_id} has no agent"
                return
        yield from self._unknown()
        for agent in self._agents():
            yield from self._views(agent)
            yield from self._books(agent)
            for job in agent.jobs():
                owned = job.status.owner is None
                yield from self._owned(agent, job) if owned else self._hosted(agent, job)
        for job_id, node_id in self._witness.running.items():
            running = self._agent(node_id).get(job_id)
            if running is None or running.status.phase != Phase.RUNNING:
                yield f"{job_id} runs on {node_id}, whose agent does not say so"

    def _agents(self) -> Iterator[Agent]:
        return (machine.agent for machine in self._machines if machine.agent is not None)

    def _agent(self, node_id: str) -> Agent:
        agent = self._witness.machines[node_id].agent
        if agent is None:
            raise self._witness.fail(f"{node_id} has no agent")
        return agent

    # --- views ---------------------------------------------------------------------------------

    def _reach(self, origin: Machine) -> dict[str, int]:
        """By agent that is to know of `origin`: the links between them, by the rules of links."""
        above = set(self._chain_above(origin))
        found = {origin.node_id: 0}
        places: deque[tuple[Machine, LinkRole | None]] = deque([(origin, None)])
        distances = deque([0])
        seen: set[tuple[str, LinkRole]] = set()
        while places:
            (machine, heard_from), hops = places.popleft(), distances.popleft()
            for link in self._network.links_of(machine):
                other = link.other(machine)
                told_as = link.role_seen_by(other)
                below = machine.node_id in above
                told = _told(machine, other, heard_from, below, link.role_seen_by(machine))
                if told and (other.node_id, told_as) not in seen:
                    seen.add((other.node_id, told_as))
                    found.setdefault(other.node_id, hops + 1)
                    places.append((other, told_as))
                    distances.append(hops + 1)
        return found

    def _chain_above(self, machine: Machine) -> Iterator[str]:
        above = machine.parent_id
        while above is not None:
            yield above
            above = self._witness.machines[above].parent_id

    def _views(self, agent: Agent) -> Iterator[str]:
        here = agent.node_id
        known = {node.node_id: node for node in agent.exchange.view.nodes()}
        to_know = self._to_know[here]
        if known.keys() != to_know.keys():
            missing = sorted(to_know.keys() - known.keys())
            yield f"{here} does not know {missing}, knows {sorted(known.keys() - to_know.keys())}"
        for node_id, node in known.items():
            yield from self._view_of(here, node, to_know.get(node_id, 0))

    def _view_of(self, here: str, node: KnownNode, hops: int) -> Iterator[str]:
        name = node.node_id
        there = self._agent(name)
        if not node.reachable:
            yield f"{here} cannot reach {name}"
        if node.state.version != there.node_version():
            yield f"{here} knows {name} as of {node.state.version}, not {there.node_version()}"
        if node.state.available != there.ledger.available:
            yield f"{here}: {name} has {there.ledger.available}, not {node.state.available}"
        if node.hops != hops:
            yield f"{here} reaches {name} over {node.hops} links, not {hops}"
        indexed = self._agent(here).coordinator.index.get(name)
        if indexed is None or indexed.state != node.state:
            yield f"{here} places by another state of {name} than it knows: {indexed}"

    # --- books ---------------------------------------------------------------------------------

    def _unknown(self) -> Iterator[str]:
        for job_id, owner in self._witness.owners.items():
            if self._agent(owner).get(job_id) is None:
                yield f"{owner} does not know {job_id}, which it has accepted"

    def _books(self, agent: Agent) -> Iterator[str]:
        debits = agent.coordinator.debits()
        if debits:
            yield f"{agent.node_id} still counts room on other nodes for {debits}"
        holders = [job for job in agent.jobs() if job.status.holds_room]
        if len(holders) != len(agent.ledger):
            yield f"{agent.node_id}: {len(holders)} hold room, the ledger has {len(agent.ledger)}"
        offered: defaultdict[int, Resources] = defaultdict(Resources)
        for _, priority, room, _ in agent.preemptible():
            offered[priority] += room
        told = agent.coordinator.known[agent.node_id].state.preemptible
        if told != tuple(sorted(offered.items())):
            yield f"{agent.node_id} offers {told} for preemption, and would end {dict(offered)}"

    # --- workloads -----------------------------------------------------------------------------

    def _owned(self, agent: Agent, job: Job) -> Iterator[str]:
        status = job.status
        name = f"{job.id} of {agent.node_id}"
        if status.phase not in _SETTLED:
            yield f"{name} is {status.phase} for ever ({status.reason}, host {status.host})"
        wished = {desired for _, desired in self._witness.wished.get(job.id, [])}
        if wished and status.desired not in wished:
            yield f"{name}: users want it {sorted(wished)}, it says {status.desired}"
        if status.desired == "deleted":
            yield f"{name} is not deleted, though a user wants that"
        if status.desired == "stopped" and not status.is_terminal:
            yield f"{name} is {status.phase}, though a user wants it stopped"
        if status.desired == "running" and status.phase == Phase.STOPPED:
            yield f"{name} is stopped, though a user wants it to run"
        if status.host is not None:
            yield from self._delegated(agent, job, name)
        elif status.phase == Phase.PENDING:
            yield from self._waiting(agent, job, name)
        elif status.phase == Phase.RUNNING:
            yield from self._runs(job, agent.node_id, name)

    def _waiting(self, agent: Agent, job: Job, name: str) -> Iterator[str]:
        for node in agent.exchange.view.nodes():
            if fits(job.spec, job.wanted, node, agent.now()):
                yield f"{name} is lost: it waits, and {node.node_id} has room"

    def _delegated(self, agent: Agent, job: Job, name: str) -> Iterator[str]:
        status = job.status
        hosted = self._agent(str(status.host)).get(job.id)
        if hosted is None or hosted.status.owner != agent.node_id:
            yield f"{name} is lost: {status.host} does not have it"
            return
        there = hosted.status
        if there.assignment != status.assignment or there.returned:
            yield f"{name}: {status.host} has k={there.assignment}, not {status.assignment}"
        for field in MIRRORED:
            if getattr(there, field) != getattr(status, field):
                yield (
                    f"{name}: {field} is {getattr(there, field)!r} at {status.host}, "
                    f"{getattr(status, field)!r} here"
                )
        if status.phase == Phase.PENDING:
            yield f"{name} waits at {status.host} ({status.reason})"
        if status.phase == Phase.RUNNING:
            yield from self._runs(job, str(status.host), name)

    def _runs(self, job: Job, node_id: str, name: str) -> Iterator[str]:
        where = self._witness.running.get(job.id)
        if where != node_id:
            yield f"{name} is said to run on {node_id}; it runs on {where}"

    def _hosted(self, agent: Agent, job: Job) -> Iterator[str]:
        status = job.status
        owned = self._agent(str(status.owner)).get(job.id)
        if owned is None or owned.status.host != agent.node_id:
            yield f"{agent.node_id} keeps {job.id}, of which {status.owner} knows nothing"


def _told(
    machine: Machine, other: Machine, heard_from: LinkRole | None, below: bool, towards: LinkRole
) -> bool:
    """Whether an agent tells another of a node: `heard_from` and `below` are what it is to it."""
    if heard_from is None:
        return True
    if towards == "child":
        return other.escalates
    if heard_from == "parent":
        return False
    return towards == "parent" or (machine.shares and below)
