"""Workloads that wait for room: who is tried first, and who need not be tried at all."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from cnet.model.workload import WorkloadSpec
from cnet.scheduler.affinity import identity


def shape_of(spec: WorkloadSpec) -> Hashable:
    """Equal for workloads that fit into the same nodes: where one finds no room, no other does.

    Strategy and labels say which node is chosen, not which ones fit, and are left out; so is the
    priority, by which the queue keeps them apart itself.
    """
    return (
        spec.type,
        spec.requirements.to_resources(),
        spec.node,
        spec.reservation,
        tuple(identity(term) for term in spec.affinity if term.required),
        tuple(identity(term) for term in spec.anti_affinity if term.required),
    )


@dataclass(slots=True)
class _Lane:
    """Those of one priority and shape: a heap of (arrival, id), with the discarded still in it."""

    priority: int
    shape: Hashable
    heap: list[tuple[int, str]] = field(default_factory=list)
    waiting: int = 0


class PendingQueue:
    """Higher priority first, among equals who came first.

    A retry costs one attempt per shape that finds no room and one per workload that finds some, not
    one per workload that waits.
    """

    def __init__(self) -> None:
        self._arrivals: dict[str, int] = {}
        self._lane_of: dict[str, _Lane] = {}
        self._lanes: dict[tuple[int, Hashable], _Lane] = {}
        self._next_arrival = 0

    def __len__(self) -> int:
        return len(self._arrivals)

    def __contains__(self, workload_id: str) -> bool:
        return workload_id in self._arrivals

    def __iter__(self) -> Iterator[str]:
        """All ids in order; sorts them, so not for every event."""
        order = sorted(
            (-self._lane_of[name].priority, arrival, name)
            for name, arrival in self._arrivals.items()
        )
        return (name for *_, name in order)

    def add(
        self, workload_id: str, priority: int, shape: Hashable, *, arrival: int | None = None
    ) -> int:
        """Let it wait, at the end of its priority; does nothing when it waits already.

        Returns its arrival number. Whoever had to leave the queue and comes back (a node refused
        it after all) keeps its place by giving that number.
        """
        if workload_id in self._arrivals:
            return self._arrivals[workload_id]
        if arrival is None:
            arrival = self._next_arrival
        self._next_arrival = max(self._next_arrival, arrival + 1)
        lane = self._lanes.setdefault((priority, shape), _Lane(priority, shape))
        heapq.heappush(lane.heap, (arrival, workload_id))
        lane.waiting += 1
        self._arrivals[workload_id] = arrival
        self._lane_of[workload_id] = lane
        return arrival

    def discard(self, workload_id: str) -> None:
        """It waits no longer; harmless when it does not."""
        if self._arrivals.pop(workload_id, None) is None:
            return
        lane = self._lane_of.pop(workload_id)
        lane.waiting -= 1
        if not lane.waiting:
            del self._lanes[lane.priority, lane.shape]
        elif len(lane.heap) > 2 * lane.waiting + 64:
            lane.heap = sorted({entry for entry in lane.heap if self._waits(*entry, lane)})

    def retry(self) -> Iterator[str]:
        """The ids to try now, in order.

        Whoever finds room must be discarded before the next id is asked for; one that is still in
        the queue then has found none, and all others of its shape are passed over, smaller ones
        behind it are not. What is added during the pass may wait for the next one.
        """
        heads = [self._head(lane) for lane in self._lanes.values()]
        heapq.heapify(heads)
        failed: set[Hashable] = set()
        while heads:
            _, arrival, name, lane = heapq.heappop(heads)
            if lane.shape in failed or not lane.waiting:
                continue
            if self._waits(arrival, name, lane):
                yield name
                if name in self._arrivals:
                    failed.add(lane.shape)
                    continue
            if lane.waiting:
                heapq.heappush(heads, self._head(lane))

    def _head(self, lane: _Lane) -> tuple[int, int, str, _Lane]:
        """Who came first of a lane where somebody waits; the name settles every comparison."""
        while not self._waits(*lane.heap[0], lane):
            heapq.heappop(lane.heap)
        return (-lane.priority, *lane.heap[0], lane)

    def _waits(self, arrival: int, name: str, lane: _Lane) -> bool:
        return self._arrivals.get(name) == arrival and self._lane_of[name] is lane
