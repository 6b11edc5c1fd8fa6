"""Nodes as pages show them."""

from __future__ import annotations

from dataclasses import dataclass

from cnet.api.context import ApiContext
from cnet.model.node import KnownNode
from cnet.model.resources import Resources
from cnet.web import formats


@dataclass(frozen=True, slots=True)
class Share:
    """How much of a resource is held."""

    name: str
    held: str
    total: str
    percent: float


@dataclass(frozen=True, slots=True)
class ShownNode:
    """A node of the view, with what the own agent knows at first hand about itself."""

    known: KnownNode
    relation: str
    """`self`, `parent`, `child`, `peer`, or how it is known: `below`, `beyond`, `beside`"""
    shares: tuple[Share, ...]
    load: float
    """share of the scarcest of CPU, memory and GPUs, in percent"""

    @property
    def node_id(self) -> str:
        """Its name."""
        return self.known.node_id


_FAR = {"child": "below", "parent": "beyond", "peer": "beside"}


def shown_nodes(context: ApiContext) -> list[ShownNode]:
    """All of them: the own one first, then by name."""
    found = [shown_node(context, node) for node in context.exchange.view.nodes()]
    return sorted(found, key=lambda node: (node.relation != "self", node.node_id))


def shown_node(context: ApiContext, node: KnownNode) -> ShownNode:
    """One of them."""
    state = node.state
    if node.node_type == "local":
        relation = "self"
        capacity, held = context.manager.ledger.capacity, context.manager.ledger.allocated
    else:
        relation = context.exchange.view.relation(node.node_id) or _FAR[node.node_type]
        capacity, held = state.capacity, state.capacity.minus_floor(state.available)
    shares = _shares(held, capacity)
    load = max(share.percent for share in shares if share.name != "storage")
    return ShownNode(node, relation, shares, load)


def _shares(held: Resources, total: Resources) -> tuple[Share, ...]:
    def one(name: str, part: float, whole: float, cores: bool = False) -> Share:
        show = formats.cores if cores else formats.size
        return Share(name, show(part), show(whole), formats.percent(part, whole))

    found = [
        one("cpu", held.cpu / 1000, total.cpu / 1000, cores=True),
        one("memory", held.memory, total.memory),
        one("storage", held.storage, total.storage),
    ]
    if total.gpu:
        found.append(one("gpu", held.gpu, total.gpu, cores=True))
    return tuple(found)
