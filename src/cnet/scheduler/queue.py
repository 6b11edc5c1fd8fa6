"""Workloads that wait for room: who is tried first, and who need not be tried at all."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterator
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
    open: bool = True
    """nobody has shown yet that a new one need not be tried"""

    @property
    def key(self) -> tuple[int, Hashable]:
        """Of the queue's lanes."""
        return (self.priority, self.shape)


class PendingQueue:
    """Higher priority first, among equals who came first.

    Whoever found no room is not tried again until `wake` says that it may help. A retry costs one
    attempt per shape that finds no room and one per workload that finds some, not one per workload
    that waits.
    """

    def __init__(self) -> None:
        self._arrivals: dict[str, int] = {}
        self._left: dict[str, int] = {}
        self._lane_of: dict[str, _Lane] = {}
        self._lanes: dict[tuple[int, Hashable], _Lane] = {}
        self._due: dict[tuple[int, Hashable], _Lane] = {}
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

    def heads(self) -> list[str]:
        """Who is first of each priority and shape."""
        return [self._head(lane)[2] for lane in self._lanes.values()]

    def shape(self, workload_id: str) -> Hashable:
        """The shape it was added with; KeyError when it does not wait."""
        return self._lane_of[workload_id].shape

    def add(self, workload_id: str, priority: int, shape: Hashable) -> None:
        """Let it wait, at the end of its priority; does nothing when it waits already.

        Whoever has left the queue and comes back (a node refused it after all) has its old place,
        unless it was forgotten meanwhile.
        """
        if workload_id in self._arrivals:
            return
        arrival = self._left.pop(workload_id, self._next_arrival)
        self._next_arrival = max(self._next_arrival, arrival + 1)
        lane = self._lanes.setdefault((priority, shape), _Lane(priority, shape))
        heapq.heappush(lane.heap, (arrival, workload_id))
        lane.waiting += 1
        self._arrivals[workload_id] = arrival
        self._lane_of[workload_id] = lane
        if lane.open:
            self._due[lane.key] = lane

    def discard(self, workload_id: str) -> None:
        """It waits no longer; harmless when it does not. Its place is kept until `forget`."""
        arrival = self._arrivals.pop(workload_id, None)
        if arrival is None:
            return
        self._left[workload_id] = arrival
        lane = self._lane_of.pop(workload_id)
        lane.waiting -= 1
        if not lane.waiting:
            del self._lanes[lane.key]
            self._due.pop(lane.key, None)
        elif len(lane.heap) > 2 * lane.waiting + 64:
            lane.heap = sorted({entry for entry in lane.heap if self._waits(*entry, lane)})

    def forget(self, workload_id: str) -> None:
        """One that has left will not be back, or not for its old place."""
        self._left.pop(workload_id, None)

    def wake(self, may_help: Callable[[str], bool] | None = None) -> None:
        """Something is new: try those again that it may help (default: all).

        `may_help` is asked of one of each priority and shape.
        """
        for key, lane in self._lanes.items():
            if key not in self._due and (may_help is None or may_help(self._head(lane)[2])):
                self._due[key] = lane

    def wake_one(self, workload_id: str) -> None:
        """Something is new that may help this one; harmless when it does not wait."""
        lane = self._lane_of.get(workload_id)
        if lane is not None:
            self._due[lane.key] = lane

    def retry(self, has_own_reasons: Callable[[str], bool] = lambda _: False) -> Iterator[str]:
        """The ids to try now, in order: of what was added, or woken, since the last retry.

        Whoever finds room must be discarded before the next id is asked for; one that is still in
        the queue then has found none, and all others of its shape are passed over, smaller ones
        behind it are not. Unless it `has_own_reasons`, which tell nothing of others of its shape:
        then the next one is tried. What is added during the pass may wait for the next one.
        """
        order = [self._head(lane) for lane in self._due.values()]
        heapq.heapify(order)
        failed: set[Hashable] = set()
        walks: dict[int, Iterator[tuple[int, str]]] = {}
        while order:
            _, arrival, name, lane = heapq.heappop(order)
            if lane.shape in failed:
                self._settle(lane, is_open=False)
                continue
            if self._waits(arrival, name, lane):
                yield name
                if name in self._arrivals:
                    if not has_own_reasons(name):
                        failed.add(lane.shape)
                        self._settle(lane, is_open=False)
                        continue
                    walks.setdefault(id(lane), _in_order(lane.heap, behind=(arrival, name)))
            walk = walks.get(id(lane))
            if walk is None and lane.waiting:
                heapq.heappush(order, self._head(lane))
            elif walk is not None and (entry := next(walk, None)) is not None:
                heapq.heappush(order, (-lane.priority, *entry, lane))
            else:
                self._settle(lane, is_open=True)

    def _settle(self, lane: _Lane, *, is_open: bool) -> None:
        lane.open = is_open
        if self._due.get(lane.key) is lane:
            del self._due[lane.key]

    def _head(self, lane: _Lane) -> tuple[int, int, str, _Lane]:
        """Who came first of a lane where somebody waits; the name settles every comparison."""
        while not self._waits(*lane.heap[0], lane):
            heapq.heappop(lane.heap)
        return (-lane.priority, *lane.heap[0], lane)

    def _waits(self, arrival: int, name: str, lane: _Lane) -> bool:
        return self._arrivals.get(name) == arrival and self._lane_of[name] is lane


def _in_order(heap: list[tuple[int, str]], *, behind: tuple[int, str]) -> Iterator[tuple[int, str]]:
    """The entries of a heap as it is now, smallest first; sorts no more than are asked for."""
    heap = heap.copy()
    ahead = [(heap[0], 0)]
    last = behind
    while ahead:
        entry, at = heapq.heappop(ahead)
        for child in range(2 * at + 1, min(2 * at + 3, len(heap))):
            heapq.heappush(ahead, (heap[child], child))
        if entry > last:
            last = entry
            yield entry
