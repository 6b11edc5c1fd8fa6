"""What makes a node unfit for a workload. Each check explains itself in a phrase."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from cnet.model.resources import Resources
from cnet.model.workload import WorkloadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSnapshot:
    """What the scheduler may know of a node."""

    node_id: str
    capacity: Resources
    available: Resources
    kinds: Collection[str]
    """kinds of workload it has an executor for"""


Check = Callable[[WorkloadSpec, Resources, NodeSnapshot], str | None]
"""(spec, what it asks for, node) → why not, or None."""


def kind_supported(spec: WorkloadSpec, _wanted: Resources, node: NodeSnapshot) -> str | None:
    """The node has an executor for the kind."""
    return None if spec.type in node.kinds else f"no executor for {spec.type}"


def capacity_suffices(_spec: WorkloadSpec, wanted: Resources, node: NodeSnapshot) -> str | None:
    """The empty node could hold it."""
    if wanted.fits(node.capacity):
        return None
    return "too small: " + ", ".join(wanted.shortfalls(node.capacity))


def room_suffices(_spec: WorkloadSpec, wanted: Resources, node: NodeSnapshot) -> str | None:
    """The node has room now."""
    if wanted.fits(node.available):
        return None
    return ", ".join(wanted.shortfalls(node.available))


CHECKS: tuple[Check, ...] = (kind_supported, capacity_suffices, room_suffices)
"""Cheap and lasting reasons first: the first failing check is the one that is told."""

LASTING: frozenset[Check] = frozenset({kind_supported, capacity_suffices})
"""Reasons that no waiting will mend."""
