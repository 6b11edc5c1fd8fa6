"""Room for a higher priority where workloads of lower priority have said they may be ended."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cnet.model.node import KnownNode
from cnet.model.resources import Resources
from cnet.model.workload import WorkloadSpec
from cnet.scheduler.checks import failures, room_suffices
from cnet.scheduler.index import NodeIndex
from cnet.scheduler.scorers import Ranking, share, size_class

Running = tuple[str, int, Resources, float]
"""(workload id, priority, room it holds, when it was started)."""


def node_to_preempt(
    spec: WorkloadSpec,
    wanted: Resources,
    index: NodeIndex,
    *,
    now: float,
    exclude: Collection[str] = (),
) -> str | None:
    """The node that could hold the workload if preemptible ones of lower priority ended.

    Of several the one where the highest priority disturbed is lowest, then the one that lacks the
    fewest GPUs, then the smallest share of its CPU and memory. None when there is none.
    """
    nearness = Ranking("default")
    found = []
    for node in index.with_preemptible():
        if node.node_id in exclude:
            continue
        priority = priority_disturbed(spec, wanted, node, now)
        if priority is None:
            continue
        lacking = wanted.minus_floor(node.state.available)
        taken = share(lacking, size_class(node.state.capacity))
        found.append((priority, lacking.gpu, taken, nearness.key(node, wanted)))
    return min(found)[-1][-1] if found else None


def priority_disturbed(
    spec: WorkloadSpec, wanted: Resources, node: KnownNode, now: float
) -> int | None:
    """The lowest priority up to which all that may be ended must end for `wanted` to fit.

    None where that is no use: too little may be ended, or not only room is short.
    """
    room = node.state.available
    for priority, held in node.state.preemptible:
        if priority >= spec.priority:
            return None
        room += held
        if wanted.fits(room):
            return priority if _only_room_is_short(spec, wanted, node, now) else None
    return None


def _only_room_is_short(spec: WorkloadSpec, wanted: Resources, node: KnownNode, now: float) -> bool:
    return [check for check, _ in failures(spec, wanted, node, now)] == [room_suffices]


def victims(
    wanted: Resources, free: Resources, running: Iterable[Running], priority: int
) -> tuple[str, ...] | None:
    """Which of the preemptible workloads `running` must end so that `wanted` fits.

    Only those below `priority`; the lowest first, among equals the youngest first, and none that is
    not needed. Empty when it fits as it is, None when there is not enough to end.
    """
    lower = [one for one in running if one[1] < priority]
    lower.sort(key=lambda one: (one[1], -one[3], one[0]))
    chosen: list[Running] = []
    room = free
    for one in lower:
        if wanted.fits(room):
            break
        chosen.append(one)
        room += one[2]
    if not wanted.fits(room):
        return None
    # From the most worth keeping down: spare whoever turns out to free nothing that is needed.
    for one in reversed(chosen.copy()):
        without = room - one[2]
        if wanted.fits(without):
            chosen.remove(one)
            room = without
    return tuple(name for name, *_ in chosen)
