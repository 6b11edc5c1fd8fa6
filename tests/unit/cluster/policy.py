"""What each agent should know, worked out over all permitted simple paths of a topology."""

from __future__ import annotations

from collections.abc import Iterable

from tests.unit.cluster.network import Edge, Network


def hops_of(network: Network, edges: Iterable[Edge]) -> dict[tuple[str, str], int]:
    """By (agent, node): links to cross on the shortest way the agent may be told of."""
    neighbours: dict[str, list[Edge]] = {name: [] for name in network.sites}
    for edge in edges:
        for end in edge.ends:
            neighbours[end].append(edge)
    shortest: dict[tuple[str, str], int] = {}
    for origin in network.sites:
        ways: list[tuple[tuple[str, ...], Edge | None]] = [((origin,), None)]
        while ways:
            onward = []
            for path, over in ways:
                here = path[-1]
                key = (here, origin)
                shortest[key] = min(shortest.get(key, len(path)), len(path) - 1)
                for edge in neighbours[here]:
                    there = edge.above if edge.below == here else edge.below
                    if there not in path and _tells(network, here, origin, over, edge):
                        onward.append(((*path, there), edge))
            ways = onward
    return shortest


def _tells(network: Network, here: str, origin: str, over: Edge | None, to: Edge) -> bool:
    """Whether `here` tells over `to` of the node that it knows of over `over`."""
    if over is None:
        return True
    role, heard_from = to.role_at(here), over.role_at(here)
    if role == "parent":
        return heard_from != "parent"
    if role == "peer":
        shares = here in network.share and _is_below(network, origin, here)
        return shares and heard_from != "parent"
    return to.below in network.escalate


def _is_below(network: Network, node: str, ancestor: str) -> bool:
    above = network.parent_of(node)
    while above is not None and above != ancestor:
        above = network.parent_of(above)
    return above == ancestor


def type_of(network: Network, here: str, node: str) -> str:
    """`node_type` of a node in the view of `here`, all links being up."""
    if node == here:
        return "local"
    direct = next((edge for edge in network.edges if {here, node} == set(edge.ends)), None)
    if direct is not None:
        return direct.role_at(here)
    return "child" if _is_below(network, node, here) else "other"
