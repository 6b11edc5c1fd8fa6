"""What one agent knows of the nodes of its tree: itself, what its links tell, what registered over
HTTP.

The view keeps, per link and node, the last thing that link said. A node's *content* is the newest
version heard over any link; its *route* is the reachable thing heard with the fewest hops (ties:
the smaller name of the link). What a lost link said is kept as unreachable, so that a node that
cannot be reached stays in sight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from cnet.errors import ConflictError, NotFoundError
from cnet.model.node import KnownNode, NodeState, NodeType
from cnet.model.resources import Resources

LinkRole = Literal["parent", "child", "peer"]
"""What the agent at the other end is to this one."""

HTTP_SILENCE_S = 90.0
"""Seconds without a heartbeat after which a node that registered over HTTP is unreachable."""
MAX_REGISTERED = 1_000
"""Nodes that may be registered over HTTP at a time; anybody may make one up."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What one link says of the way to one node."""

    path: tuple[str, ...]
    """from the linked agent to the node, both included"""
    reachable: bool
    below: bool
    """a descendant of the linked agent, or that agent itself; says something on child links only"""
    lost: bool = False
    """the link broke after it had said so"""


@dataclass(frozen=True, slots=True)
class Description:
    """What a node without a link says of itself."""

    capacity: Resources
    available: Resources
    address: str = ""
    """where it may be called, empty when it does not say"""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Node:
    state: NodeState
    updated: float
    heard: dict[str, Heard] = field(default_factory=dict)
    """by link; empty for the own node and for one that registered over HTTP"""
    registered: Literal["child", "peer"] | None = None
    """as what it registered over HTTP"""
    known: KnownNode | None = None


class View:
    """Nodes known to one agent. Times are monotonic seconds; every update costs O(links)."""

    def __init__(self, node_id: str, *, escalate: bool = False) -> None:
        self.node_id = node_id
        self.on_change: Callable[[str], None] = _ignore
        """called with the name of a node that came, changed or went"""
        self.revision = 0
        """grows with every change of what is known of any node"""
        self._escalate = escalate
        self._nodes: dict[str, _Node] = {}
        self._roles: dict[str, LinkRole] = {}
        self._tables: dict[str, set[str]] = {}
        self._registered: set[str] = set()

    def __len__(self) -> int:
        return len(self._nodes)

    def nodes(self) -> Iterator[KnownNode]:
        """Every known node, the own one first."""
        own = self.get(self.node_id)
        if own is not None:
            yield own
        for node in list(self._nodes.values()):
            if node.known is not None and node.known.node_id != self.node_id:
                yield node.known

    def get(self, node_id: str) -> KnownNode | None:
        """A node by name."""
        node = self._nodes.get(node_id)
        return None if node is None else node.known

    def route(self, node_id: str) -> str | None:
        """The linked agent to go through; None when unreachable, not linked, or the own node."""
        known = self.get(node_id)
        return known.via if known is not None and known.reachable else None

    def updated(self, node_id: str) -> float:
        """When the newest version of a known node was heard; KeyError for others."""
        return self._nodes[node_id].updated

    def heard(self, node_id: str) -> Mapping[str, Heard]:
        """What each link says of the way to a node; empty where none says anything."""
        node = self._nodes.get(node_id)
        return {} if node is None else node.heard

    def heard_over(self, link: str) -> set[str]:
        """Names of the nodes that a link, up or lost, has told of."""
        return set(self._tables.get(link, ()))

    def role(self, link: str) -> LinkRole:
        """What the agent behind a link is, or was when the link was up; KeyError if never seen."""
        return self._roles[link]

    def relation(self, node_id: str) -> LinkRole | None:
        """What a node is to this agent by a link of its own, up or lost, or as it registered."""
        node = self._nodes.get(node_id)
        if node is None or node_id in node.heard:
            return None if node is None else self._roles[node_id]
        return node.registered

    def set_self(self, state: NodeState, now: float) -> bool:
        """The own node as it is now; False when it was at this version already."""
        node = self._nodes.get(self.node_id)
        if node is None:
            node = self._nodes[self.node_id] = _Node(state, now)
        elif node.known is not None and state.version <= node.state.version:
            return False
        node.state, node.updated = state, now
        node.known = KnownNode(state=state, node_type="local")
        self._changed(self.node_id)
        return True

    def link_up(self, link: str, role: LinkRole) -> None:
        """A link opens. What it said in earlier times stays unreachable until it is said again."""
        self._roles[link] = role
        self._tables.setdefault(link, set())

    def link_down(self, link: str, now: float) -> list[str]:
        """A link is lost: what it said is unreachable by it. The nodes this concerns."""
        concerned = sorted(self._tables.get(link, ()))
        for node_id in concerned:
            node = self._nodes[node_id]
            node.heard[link] = replace(node.heard[link], reachable=False, lost=True)
            self._judge(node, now)
        return concerned

    def learn(self, link: str, state: NodeState, heard: Heard, now: float) -> bool:
        """A link tells of a node; False when that was known word for word.

        An older version of the state never replaces a newer one.
        """
        node = self._nodes.get(state.node_id)
        if node is None:
            node = self._nodes[state.node_id] = _Node(state, now)
        elif node.registered is not None:
            self._registered.discard(state.node_id)
            node.registered = None
            node.state, node.updated = state, now
        elif state.version > node.state.version:
            moved = state.parent_id not in (None, node.state.parent_id)
            node.state, node.updated = state, now
            if moved:
                self._drop_lost(node)
        elif node.heard.get(link) == heard:
            return False
        node.heard[link] = heard
        self._tables[link].add(state.node_id)
        self._judge(node, now)
        return True

    def withdraw(self, link: str, node_id: str, now: float) -> bool:
        """A link knows of a node no longer; False when it had not told of it."""
        node = self._nodes.get(node_id)
        if node is None or link not in node.heard:
            return False
        del node.heard[link]
        self._tables[link].discard(node_id)
        if node.heard:
            self._judge(node, now)
        else:
            self._remove(node_id)
        return True

    def register_http(
        self, node_type: Literal["child", "peer"], node_id: str, said: Description, *, now: float
    ) -> None:
        """A node without a link says that it is there, or again how it is.

        Raises ConflictError when the name belongs to this agent or to one with a link, or when too
        many have registered.
        """
        node = self._nodes.get(node_id)
        if node_id == self.node_id or (node is not None and node.registered is None):
            owner = "this agent" if node_id == self.node_id else "an agent that has a link"
            raise ConflictError(f"node_id: {node_id} is the name of {owner}")
        if node is None and len(self._registered) >= MAX_REGISTERED:
            raise ConflictError(
                f"node_id: {node_id} is one too many; at most {MAX_REGISTERED} nodes without a "
                "link can be registered, unregister those that are gone"
            )
        state = NodeState(
            node_id=node_id,
            incarnation=0,
            seq=0 if node is None else node.state.seq + 1,
            capacity=said.capacity,
            available=said.available,
            address=said.address,
            labels=dict(said.labels),
            parent_id=self.node_id if node_type == "child" else None,
        )
        if node is None:
            node = self._nodes[node_id] = _Node(state, now)
        self._registered.add(node_id)
        node.state, node.updated, node.registered = state, now, node_type
        self._judge(node, now)

    def heartbeat_http(self, node_id: str, said: Description, *, now: float) -> None:
        """A registered node is still there, and like this. An empty address leaves the former one.

        Raises NotFoundError when it has not registered, ConflictError as `register_http`.
        """
        node = self._nodes.get(node_id)
        if node is None:
            raise NotFoundError(f"node {node_id} has not registered here")
        said = replace(said, address=said.address or node.state.address)
        self.register_http(node.registered or "child", node_id, said, now=now)

    def unregister(self, node_id: str) -> None:
        """Forget a node that registered over HTTP, or one whose links are all lost.

        Raises NotFoundError, or ConflictError while some link still tells of it.
        """
        node = self._nodes.get(node_id)
        if node is None:
            raise NotFoundError(f"no node {node_id} is known here")
        if node_id == self.node_id:
            raise ConflictError(f"node_id: {node_id} is this agent")
        telling = sorted(link for link, heard in node.heard.items() if not heard.lost)
        if telling:
            raise ConflictError(
                f"node_id: {node_id} is known by the link to {', '.join(telling)}; only nodes that "
                "registered over HTTP or whose links are lost can be forgotten"
            )
        self._drop_lost(node)
        self._remove(node_id)

    def tick(self, now: float) -> None:
        """Registered nodes that have been silent for long are unreachable."""
        for node_id in self._registered:
            self._judge(self._nodes[node_id], now)

    def _changed(self, node_id: str) -> None:
        self.revision += 1
        self.on_change(node_id)

    def _drop_lost(self, node: _Node) -> None:
        """What lost links said of a node is void, as when it has found another parent."""
        for link in [link for link, heard in node.heard.items() if heard.lost]:
            del node.heard[link]
            self._tables[link].discard(node.state.node_id)

    def _remove(self, node_id: str) -> None:
        del self._nodes[node_id]
        self._registered.discard(node_id)
        self._changed(node_id)

    def _judge(self, node: _Node, now: float) -> None:
        """Settle what is made known of a node from all that was heard of it."""
        hops, via, candidate = 1, None, False
        node_type: NodeType
        if node.registered is not None:
            node_type = node.registered
            reachable = now - node.updated <= HTTP_SILENCE_S
        else:
            via = min(node.heard, key=lambda link: _cost(link, node.heard[link]))
            hops, reachable = len(node.heard[via].path), node.heard[via].reachable
            node_type = self._type(node)
            candidate = node_type != "parent" or self._escalate
        before = node.known
        known = KnownNode(
            state=node.state,
            node_type=node_type,
            hops=hops,
            via=via,
            reachable=reachable,
            since=before.since if before is not None and before.reachable == reachable else now,
            candidate=candidate,
            linked=node.registered is None,
        )
        if known != before:
            node.known = known
            self._changed(node.state.node_id)

    def _type(self, node: _Node) -> NodeType:
        """A direct link says what a node is; else below goes before beside, beside before above."""
        if node.state.node_id in node.heard:
            return self._roles[node.state.node_id]
        said = [(self._roles[link], heard.below) for link, heard in node.heard.items()]
        if ("child", True) in said:
            return "child"
        # What a child knows but is not below it is a peer of some descendant.
        return "peer" if any(role != "parent" for role, _ in said) else "parent"


def _cost(link: str, heard: Heard) -> tuple[bool, int, str]:
    return (not heard.reachable, len(heard.path), link)


def _ignore(_node_id: str) -> None:
    """What happens on a change until somebody listens."""
