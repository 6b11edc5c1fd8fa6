"""What makes a node unfit for a workload. Each check explains itself in a phrase."""

from __future__ import annotations

from collections.abc import Callable

from cnet.model.node import KnownNode
from cnet.model.resources import Resources
from cnet.model.workload import WorkloadSpec
from cnet.scheduler.affinity import why_excluded

Check = Callable[[WorkloadSpec, Resources, KnownNode, float], str | None]
"""(spec, room it asks for, node, monotonic seconds of the observer) → why not, or None."""


def node_asked_for(
    spec: WorkloadSpec, _wanted: Resources, node: KnownNode, _now: float
) -> str | None:
    """The spec names no node, or this one."""
    if spec.node is None or spec.node == node.node_id:
        return None
    return f"not the node asked for ({spec.node})"


def can_be_given_work(
    _spec: WorkloadSpec, _wanted: Resources, node: KnownNode, _now: float
) -> str | None:
    """There is a way to hand it work, and this agent may."""
    if not node.linked:
        return "registered over HTTP, has no link"
    return None if node.candidate else "not a candidate from here"


def reachable(_spec: WorkloadSpec, _wanted: Resources, node: KnownNode, now: float) -> str | None:
    """Some link leads to it."""
    return None if node.reachable else f"unreachable for {max(0, int(now - node.since))} s"


def takes_new_work(
    _spec: WorkloadSpec, _wanted: Resources, node: KnownNode, _now: float
) -> str | None:
    """It is not being emptied."""
    return "draining" if node.state.draining else None


def kind_supported(
    spec: WorkloadSpec, _wanted: Resources, node: KnownNode, _now: float
) -> str | None:
    """The node has an executor for the kind."""
    return None if spec.type in node.state.kinds else f"no executor for {spec.type}"


def affinity_met(
    spec: WorkloadSpec, _wanted: Resources, node: KnownNode, _now: float
) -> str | None:
    """All required terms of affinity hold, and none of anti-affinity."""
    if not spec.affinity and not spec.anti_affinity:
        return None
    return ", ".join(why_excluded(spec, node.state)) or None


def room_suffices(
    _spec: WorkloadSpec, wanted: Resources, node: KnownNode, _now: float
) -> str | None:
    """The node has room now, of what it has at all."""
    available = node.state.available
    if wanted.fits(available):
        return None
    # What the empty node could not hold either is told by `capacity_suffices`.
    held = wanted.minus_floor(wanted.minus_floor(node.state.capacity))
    return ", ".join(held.shortfalls(available)) or None


def capacity_suffices(
    _spec: WorkloadSpec, wanted: Resources, node: KnownNode, _now: float
) -> str | None:
    """The empty node could hold it."""
    if wanted.fits(node.state.capacity):
        return None
    return "too small: " + ", ".join(wanted.shortfalls(node.state.capacity))


CHECKS: tuple[Check, ...] = (
    node_asked_for,
    can_be_given_work,
    reachable,
    takes_new_work,
    kind_supported,
    affinity_met,
    room_suffices,
    capacity_suffices,
)
"""In the order in which the reasons are told; `too small:` heads a list and so stands last."""

LASTING: frozenset[Check] = frozenset(
    {node_asked_for, can_be_given_work, kind_supported, capacity_suffices}
)
"""Reasons that no waiting will mend; labels, states and links may all change."""


def fits(spec: WorkloadSpec, wanted: Resources, node: KnownNode, now: float) -> bool:
    """Whether the node passes every check."""
    return all(check(spec, wanted, node, now) is None for check in CHECKS)


def failures(
    spec: WorkloadSpec, wanted: Resources, node: KnownNode, now: float
) -> list[tuple[Check, str]]:
    """Every check that the node fails, with its phrase."""
    found = []
    for check in CHECKS:
        why_not = check(spec, wanted, node, now)
        if why_not is not None:
            found.append((check, why_not))
    return found
