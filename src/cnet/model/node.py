"""What an agent tells others of its node, and what others know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cnet.model.resources import Resources
from cnet.model.route import ServiceRoute

NodeType = Literal["local", "child", "peer", "parent"]
NodeStatus = Literal["active", "unreachable", "draining"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """One node as its own agent describes it; travels over links as it is."""

    node_id: str
    incarnation: int
    """counts the starts of the agent on its data directory"""
    seq: int
    """grows with every change within an incarnation"""
    capacity: Resources
    available: Resources
    kinds: tuple[str, ...] = ()
    """kinds of workload it has an executor for"""
    labels: Mapping[str, str] = field(default_factory=dict)
    draining: bool = False
    """takes no new work"""
    address: str = ""
    """`host:port` where others may reach its API; empty when not known"""
    parent_id: str | None = None
    peers: tuple[str, ...] = ()
    workloads: int = 0
    """how many hold room"""
    workload_labels: Mapping[str, int] = field(default_factory=dict)
    """`key=value` → number of workloads that hold room here and carry it"""
    preemptible: tuple[tuple[int, Resources], ...] = ()
    """(priority, room of the preemptible workloads of this priority that run), lowest first"""
    services: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """name of a service → ids of the workloads that are ready to serve it here"""
    routes: Mapping[str, ServiceRoute] = field(default_factory=dict)
    """name of a service that this node owns → which of its replicas get requests, and how many"""
    data: Mapping[str, int] = field(default_factory=dict)
    """key of stored data → bytes of it that are here, stored or in the cache; the largest ones"""

    @property
    def version(self) -> tuple[int, int]:
        """Of two states of one node the one with the higher version is the newer."""
        return (self.incarnation, self.seq)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownNode:
    """A node in the view of some agent."""

    state: NodeState
    node_type: NodeType
    """`child` is anything below, `parent` anything reached by way of the parent"""
    hops: int = 0
    """links to cross; 0 for the agent's own node"""
    via: str | None = None
    """the linked agent it is reached through; None for the own node"""
    reachable: bool = True
    since: float = 0.0
    """monotonic seconds of the observer when `reachable` last changed"""
    candidate: bool = True
    """whether work may be given to it from here"""
    linked: bool = True
    """False for one that registered over HTTP and has no link: nothing can be given to it"""

    @property
    def node_id(self) -> str:
        """Its name."""
        return self.state.node_id

    @property
    def status(self) -> NodeStatus:
        """The word on the wire."""
        if not self.reachable:
            return "unreachable"
        return "draining" if self.state.draining else "active"
