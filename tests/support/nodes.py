"""States of nodes for tests that look at little else of them than where they are."""

from __future__ import annotations

from cnet.model.node import NodeState
from cnet.model.resources import Resources

ROOM = Resources(cpu=4_000, memory=2**33, storage=2**36)


def state(
    node_id: str, seq: int = 1, *, incarnation: int = 1, parent: str | None = None
) -> NodeState:
    """A node that says little of itself."""
    return NodeState(
        node_id=node_id,
        incarnation=incarnation,
        seq=seq,
        capacity=ROOM,
        available=ROOM,
        parent_id=parent,
    )
