"""Exchanges joined by a network in memory that may delay, swap, double and lose frames."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from cnet.cluster import frames
from cnet.cluster.exchange import Exchange
from cnet.register.view import LinkRole
from tests.support.nodes import state


@dataclass
class Site:
    """One agent: its exchange and what it has been told."""

    exchange: Exchange
    incarnation: int = 1
    seq: int = 0
    received: list[tuple[str, Any]] = field(default_factory=list)
    routes: list[tuple[str, bool]] = field(default_factory=list)
    dirty: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True)
class Edge:
    """A pair that may be linked: `above` is the parent of `below`, or they are peers."""

    below: str
    above: str
    peers: bool = False

    @property
    def ends(self) -> tuple[str, str]:
        return (self.below, self.above)

    def role_at(self, node_id: str) -> LinkRole:
        """What the other end is to `node_id`."""
        if self.peers:
            return "peer"
        return "parent" if node_id == self.below else "child"


class Network:
    """Frames travel encoded; `settle` lets everything arrive."""

    def __init__(
        self,
        edges: list[Edge],
        *,
        escalate: frozenset[str] = frozenset(),
        share: frozenset[str] = frozenset(),
        nodes: tuple[str, ...] = (),
        seed: int = 0,
    ) -> None:
        self.edges = edges
        self.escalate = escalate
        self.share = share
        self.random = random.Random(seed)
        self.now = 0.0
        self.up: set[Edge] = set()
        self.sent: dict[tuple[str, str], list[frames.Frame]] = defaultdict(list)
        """all that was ever sent, by direction"""
        self.flying: list[tuple[str, str, int, bytes]] = []
        self._connection: dict[frozenset[str], int] = defaultdict(int)
        names = {*nodes, *(end for edge in edges for end in edge.ends)}
        self.sites = {name: self._site(name, 1) for name in sorted(names)}
        for name in self.sites:
            self.change(name)

    def exchange(self, name: str) -> Exchange:
        return self.sites[name].exchange

    def parent_of(self, name: str) -> str | None:
        return next((e.above for e in self.edges if not e.peers and e.below == name), None)

    def connect(self, edge: Edge) -> None:
        if edge in self.up:
            return
        self.up.add(edge)
        self._connection[frozenset(edge.ends)] += 1
        wants_all = edge.below in self.escalate and not edge.peers
        self.exchange(edge.above).link_up(edge.below, edge.role_at(edge.above), wants_all=wants_all)
        self.exchange(edge.below).link_up(edge.above, edge.role_at(edge.below))

    def disconnect(self, edge: Edge) -> None:
        if edge not in self.up:
            return
        self.up.discard(edge)
        self._connection[frozenset(edge.ends)] += 1
        for here, there in (edge.ends, edge.ends[::-1]):
            self.exchange(here).link_down(there)
            self.sites[here].dirty.pop(there, None)

    def connect_all(self) -> None:
        for edge in self.edges:
            self.connect(edge)

    def change(self, name: str) -> None:
        """The node has a new state."""
        site = self.sites[name]
        site.seq += 1
        site.exchange.set_self(
            state(name, site.seq, incarnation=site.incarnation, parent=self.parent_of(name))
        )

    def restart(self, name: str) -> None:
        """The agent comes back and has forgotten all; its links are down."""
        for edge in [edge for edge in self.up if name in edge.ends]:
            self.disconnect(edge)
        self.sites[name] = self._site(name, self.sites[name].incarnation + 1)
        self.change(name)

    def flush(self) -> None:
        for site in self.sites.values():
            for peer_id in list(site.dirty):
                del site.dirty[peer_id]
                site.exchange.flush(peer_id)

    def deliver(
        self, *, loss: float = 0.0, double: float = 0.0, swap: bool = False, most: int = 10**9
    ) -> None:
        """Hand over frames that are under way, at most so many."""
        for _ in range(min(most, len(self.flying))):
            index = self.random.randrange(len(self.flying)) if swap else 0
            source, target, connection, data = self.flying[index]
            if self.random.random() >= double:
                del self.flying[index]
            if self._connection[frozenset((source, target))] != connection:
                continue  # of a connection that is closed
            if target not in self.sites:
                continue  # played by the test
            if self.random.random() >= loss:
                self.exchange(target).receive(source, frames.decode(data))

    def settle(self) -> None:
        """Let everything arrive, in order and whole."""
        for _ in range(10_000):
            self.flush()
            if not self.flying:
                return
            self.deliver()
        raise AssertionError("the network does not come to rest")

    def heal(self) -> None:
        """Time goes by without faults, so that what was lost is noticed."""
        for _ in range(40):
            self.now += 1.0
            for site in self.sites.values():
                site.exchange.tick()
            self.settle()

    def _site(self, name: str, incarnation: int) -> Site:
        def transmit(peer_id: str, frame: frames.Frame) -> None:
            self.sent[name, peer_id].append(frame)
            connection = self._connection[frozenset((name, peer_id))]
            self.flying.append((name, peer_id, connection, frames.encode(frame)))

        def dirty(peer_id: str) -> None:
            assert peer_id not in site.dirty, "announced twice"
            site.dirty[peer_id] = None

        exchange = Exchange(
            name,
            escalate=name in self.escalate,
            share=name in self.share,
            transmit=transmit,
            deliver=lambda source, body: site.received.append((source, body)),
            route_changed=lambda node_id, up: site.routes.append((node_id, up)),
            dirty=dirty,
            now=lambda: self.now,
        )
        site = Site(exchange, incarnation=incarnation)
        return site
