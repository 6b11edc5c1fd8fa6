"""One seeded run: rounds of faults under load, each followed by healing and every check."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tools.chaos.agent import UnansweredError
from tools.chaos.threads import Gate
from tools.chaos.waiting import until
from tools.partitions.checks import Checker
from tools.partitions.clients import Client
from tools.partitions.evidence import Evidence
from tools.partitions.faults import Storm, draw
from tools.partitions.model import InvariantError, Model
from tools.partitions.topology import SIX, Topology
from tools.partitions.world import World

CLIENTS = 3
PER_ROUND = (3, 6)
DRAIN_S = 30.0
EMPTY_WITHIN_S = 30.0
TROUBLE = re.compile(r"^.*\[(?:error|critical) .*(?:\n.*){0,30}|^Traceback.*(?:\n.*){0,30}", re.M)
SETTINGS = {"scheduler": {"lease_s": 4}}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: `faults` in all; views must be right `converge_s` seconds after healing."""

    seed: int
    faults: int
    converge_s: float = 2.0


@dataclass
class Figures:
    """What was measured, in seconds."""

    faults: int = 0
    rounds: int = 0
    converged: list[float] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)


class Campaign:
    """Owns the world, the client threads and the model of one run."""

    def __init__(
        self, plan: Plan, folder: Path, *, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.plan = plan
        self.world = World(SIX, folder, settings=SETTINGS)
        self.model = Model()
        self.figures = Figures()
        self._say = say
        self._gate = Gate()
        self._evidence = Evidence(folder / "evidence")
        self._candidates = candidates(SIX)
        self._rng = random.Random(plan.seed)
        self._clients: list[Client] = []

    def run(self) -> None:
        """Raises InvariantError. Whatever happens, no process of it is left afterwards."""
        with self.world:
            try:
                self._run()
            except UnansweredError as error:
                raise InvariantError("answer", f"healed, but no answer: {error}") from error
            finally:
                for client in self._clients:
                    client.end()
                self._gate.end()

    def _run(self) -> None:
        self.world.start()
        self._say(f"linked after {self.world.await_views():.2f} s")
        checker = Checker(self.world, self.model, self._evidence, self._candidates)
        storm = Storm(self.world, random.Random(self.plan.seed + 1), self._tell)
        self._clients = [
            Client(
                self.world.members,
                self._candidates,
                self.model,
                self._gate,
                self._evidence,
                rng=random.Random(self.plan.seed * 1000 + number),
            )
            for number in range(CLIENTS)
        ]
        for client in self._clients:
            client.start()
        while self.figures.faults < self.plan.faults:
            left = self.plan.faults - self.figures.faults
            count = min(left, self._rng.randint(*PER_ROUND))
            self._gate.open()
            storm.rage(draw(self._rng, SIX, count))
            self.figures.faults += count
            self._gate.close()
            self._gate.drain(DRAIN_S)
            self._raise_failures()
            self._recover(checker)
        self._drain(checker)

    def _tell(self, sentence: str) -> None:
        self._say(f"  {sentence}")
        self.model.tell_all(sentence)

    def _recover(self, checker: Checker) -> None:
        for member in self.world.each():
            if member.runs:
                member.require_alive()
            if (fault := TROUBLE.search(member.log)) is not None:
                raise InvariantError("error", f"{member.name} logged: {fault[0]}")
        self.world.revive()
        self.world.heal()
        converged = self.world.await_views()
        self._say(f"healed; views right after {converged:.2f} s")
        self.model.tell_all(f"healed; views right after {converged:.2f} s")
        if converged > self.plan.converge_s:
            raise InvariantError(
                "late_view", f"views were right {converged:.2f} s after healing, not within "
                f"{self.plan.converge_s:g} s",
            )  # fmt: skip
        quiet = checker.check()
        self._say(f"quiet after {quiet:.2f} s more")
        self.figures.rounds += 1
        self.figures.converged.append(converged)
        self.figures.quiet.append(quiet)

    def _raise_failures(self) -> None:
        for client in self._clients:
            if client.failure is not None:
                raise client.failure

    def _drain(self, checker: Checker) -> None:
        """Delete everything; then nothing may run and no quota be held."""
        for subject in self.model.all():
            self.model.begin(subject, "delete")
            path = f"/api/workloads/{subject.id}"
            status, answer = self.world[subject.owner].call("DELETE", path, timeout_s=DRAIN_S)
            if status not in (200, 202):
                raise InvariantError("answer", f"delete was answered {status} {answer}", subject.id)
            self.model.acknowledge(subject, "delete", "deleted")
        checker.check()
        for member in self.world.each():
            if any(used := member.used().values()):
                raise InvariantError("quota", f"{member.name} holds {used} for nothing")
            if member.terminate() != 0:
                raise InvariantError(
                    "crash", f"{member.name} did not end well:\n{member.log[-3000:]}"
                )
        for name in self.world.members:
            empty = until(partial(self._is_empty, name), timeout_s=EMPTY_WITHIN_S)
            if not empty:
                pids = self.world.network.processes(name)
                raise InvariantError("left_over", f"processes on {name}: {pids}")

    def _is_empty(self, name: str) -> bool:
        return not self.world.network.processes(name)


def candidates(topology: Topology) -> dict[str, frozenset[str]]:
    """Per agent the nodes it may give work to: without `escalate`, none by way of its parent."""
    views, found = topology.views(), {}
    for host in topology.hosts:
        leaf = not any(e.acceptor == host.name for e in topology.edges_of(host.name))
        if not host.escalate and leaf:
            found[host.name] = frozenset({host.name})
        else:
            found[host.name] = views[host.name]
    return found
