"""Faults: what is broken when, for how long; drawn from a seed before the round begins."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from tools.partitions.topology import Edge, Topology
from tools.partitions.world import World

Kind = Literal[
    "cut", "one_way", "isolate", "cable", "stall", "slow", "pause", "flap", "kill", "reboot"
]
WEIGHTS: dict[Kind, int] = {
    "cut": 4, "one_way": 3, "isolate": 3, "cable": 2, "stall": 2, "slow": 1, "pause": 3,
    "flap": 2, "kill": 4, "reboot": 4,
}  # fmt: skip
START_WITHIN_S = 5.0
DURATIONS_S = ((0.1, 1.0), (0.5, 3.0), (2.0, 9.0))
FLAP_S = (0.03, 0.4)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that breaks; `at` seconds after the round began, mended `lasts` seconds later.

    `kill` is of the agent alone, started again when mended; a `reboot` starts it again at once.
    """

    at: float
    lasts: float
    kind: Kind
    host: str
    edge: Edge
    towards: str

    def __str__(self) -> str:
        where = self.host
        if self.kind in ("cut", "stall", "slow", "flap"):
            where = f"{self.edge.dialler}-{self.edge.acceptor}"
        elif self.kind == "one_way":
            where = f"{self.edge.dialler}-{self.edge.acceptor} towards {self.towards}"
        return f"{self.kind} {where} at {self.at:.2f} s for {self.lasts:.2f} s"


def draw(rng: random.Random, topology: Topology, count: int) -> list[Fault]:
    """`count` faults, which may overlap."""
    faults = []
    for _ in range(count):
        kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        edges: Sequence[Edge] = topology.edges
        if kind in ("stall", "slow"):
            edges = [edge for edge in edges if edge.through_proxy]
        edge = rng.choice(edges)
        faults.append(
            Fault(
                at=rng.uniform(0, START_WITHIN_S),
                lasts=rng.uniform(*rng.choice(DURATIONS_S)),
                kind=kind,
                host=rng.choice(topology.names),
                edge=edge,
                towards=rng.choice((edge.dialler, edge.acceptor)),
            )
        )
    return sorted(faults, key=lambda fault: fault.at)


class Storm:
    """Lets faults happen at their times."""

    def __init__(self, world: World, rng: random.Random, tell: Callable[[str], None]) -> None:
        self._world = world
        self._rng = rng
        self._tell = tell

    def rage(self, faults: Sequence[Fault]) -> None:
        """Returns when the last one is mended."""
        order = itertools.count()
        due: list[tuple[float, int, Callable[[], None]]] = []
        began = time.monotonic()

        def start(fault: Fault) -> None:
            self._tell(str(fault))
            mend = self._break(fault)
            heapq.heappush(due, (fault.at + fault.lasts, next(order), mend))

        due += [(fault.at, next(order), partial(start, fault)) for fault in faults]
        heapq.heapify(due)
        while due:
            at, _, act = heapq.heappop(due)
            time.sleep(max(0.0, began + at - time.monotonic()))
            act()

    def _break(self, fault: Fault) -> Callable[[], None]:
        world, member = self._world, self._world[fault.host]
        match fault.kind:
            case "cut":
                return world.cut(fault.edge)
            case "one_way":
                return world.cut(fault.edge, towards=fault.towards)
            case "isolate":
                return world.isolate(fault.host)
            case "cable":
                world.network.set_link(fault.host, up=False)
                return lambda: world.network.set_link(fault.host, up=True)
            case "stall":
                proxy = world.proxies[fault.edge]
                up = fault.towards == fault.edge.acceptor
                proxy.set_weather(stalled=["up" if up else "down"])
                return proxy.set_weather
            case "slow":
                proxy = world.proxies[fault.edge]
                proxy.set_weather(delay_s=self._rng.uniform(0.02, 0.4), jerk=0.1)
                return proxy.set_weather
            case "pause":
                member.pause()
                return member.resume
            case "flap":
                return self._flap(fault)
            case "kill":
                member.kill()
                return lambda: None if member.runs else member.launch()
            case "reboot":
                member.kill()
                member.launch()
                return lambda: None

    def _flap(self, fault: Fault) -> Callable[[], None]:
        """Cut and heal quickly; it holds up other faults for at most a second."""
        until = time.monotonic() + min(1.0, fault.lasts)
        while time.monotonic() < until:
            undo = self._world.cut(fault.edge)
            time.sleep(self._rng.uniform(*FLAP_S))
            undo()
            time.sleep(self._rng.uniform(*FLAP_S))
        return lambda: None
