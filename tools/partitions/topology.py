"""The agents of a campaign, their links, and what each must see once all is well.

root ── east ── east-1   (nobody can open a connection to it)
 │       │└───── east-2  (through a proxy)
 │       ↕ peers
 └──── west ──── west-1  (passes nothing on: sees its parent only)
   (proxy)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edge:
    """One link; a child dials its parent, either of two peers the other."""

    dialler: str
    acceptor: str
    peers: bool = False
    through_proxy: bool = False


@dataclass(frozen=True, slots=True)
class Host:
    """One agent."""

    name: str
    cores: float
    escalate: bool = True
    share: bool = False
    inbound: bool = True


@dataclass(frozen=True, slots=True)
class Topology:
    """Hosts and edges."""

    hosts: tuple[Host, ...]
    edges: tuple[Edge, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(host.name for host in self.hosts)

    def parent(self, name: str) -> Edge | None:
        """The edge by which it hangs on its parent."""
        return next((e for e in self.edges if e.dialler == name and not e.peers), None)

    def edges_of(self, name: str) -> list[Edge]:
        """All edges that end at it."""
        return [edge for edge in self.edges if name in (edge.dialler, edge.acceptor)]

    def views(self) -> dict[str, frozenset[str]]:
        """The nodes that each agent must know and reach when every link is up.

        To its parent an agent tells of all it has learned from children and peers, to a peer of
        itself (and of what is below it, if it shares), to a child of itself, and of all the rest if
        the child escalates.
        """
        hosts = {host.name: host for host in self.hosts}
        learned = {
            (one, other): frozenset[str]()
            for edge in self.edges
            for one, other in ((edge.dialler, edge.acceptor), (edge.acceptor, edge.dialler))
        }
        while True:
            told = {
                (to, teller): self._told(hosts[teller], hosts[to], learned)
                for to, teller in learned
            }
            if told == learned:
                return {
                    name: frozenset({name}).union(
                        *(s for (to, _), s in learned.items() if to == name)
                    )
                    for name in hosts
                }
            learned = told

    def _told(
        self, teller: Host, to: Host, learned: Mapping[tuple[str, str], frozenset[str]]
    ) -> frozenset[str]:
        peers, children = self._peers(teller.name), self._children(teller.name)
        if to.name in peers:
            sources = children if teller.share else set()
        elif to.name in children:
            sources = set(self.names) if to.escalate else set()
        else:
            sources = peers | children
        heard = (learned.get((teller.name, source), frozenset()) for source in sources - {to.name})
        return frozenset({teller.name}).union(*heard) - {to.name}

    def _peers(self, name: str) -> set[str]:
        ends = [{edge.dialler, edge.acceptor} for edge in self.edges_of(name) if edge.peers]
        return set[str]().union(*ends) - {name}

    def _children(self, name: str) -> set[str]:
        return {edge.dialler for edge in self.edges if edge.acceptor == name and not edge.peers}


SIX = Topology(
    hosts=(
        Host("root", 4),
        Host("east", 4, share=True),
        Host("west", 4),
        Host("east-1", 8, inbound=False),
        Host("east-2", 8),
        Host("west-1", 8, escalate=False),
    ),
    edges=(
        Edge("east", "root"),
        Edge("west", "root", through_proxy=True),
        Edge("east-1", "east"),
        Edge("east-2", "east", through_proxy=True),
        Edge("west-1", "west"),
        Edge("east", "west", peers=True),
    ),
)
