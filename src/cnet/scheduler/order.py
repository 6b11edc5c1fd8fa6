"""Nodes kept in the order of a ranking, so that the best that fits is found without a scan.

A `Shelf` holds nodes that one ranking orders alike for every workload. It is a sorted list cut into
slices of some dozen nodes; beside every slice stands, for each resource, the most that any of its
nodes has free. A search goes from the best node on and passes over slices that cannot hold what is
wanted. An `Order` is one shelf per kinds of workload and size class.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping

from cnet.model.node import KnownNode
from cnet.model.resources import Resources
from cnet.scheduler.scorers import Key, Ranking, SizeClass

Room = tuple[int, int, int, int]
"""(millicores, GPUs, bytes of memory, bytes of storage)."""

_SLICE = 32
"""A slice is cut in half beyond this many nodes."""


class Shelf:
    """A sorted collection of keys, each with the room behind it."""

    def __init__(self) -> None:
        self._keys: list[list[Key]] = []
        self._rooms: list[list[Room]] = []
        self._most: list[Room] = []
        self._last: list[Key] = []

    def __bool__(self) -> bool:
        return bool(self._keys)

    def add(self, key: Key, room: Room) -> None:
        """Enter a key that is not there."""
        if not self._keys:
            self._keys, self._rooms = [[key]], [[room]]
            self._most, self._last = [room], [key]
            return
        at = min(bisect_left(self._last, key), len(self._last) - 1)
        keys, rooms = self._keys[at], self._rooms[at]
        place = bisect_left(keys, key)
        keys.insert(place, key)
        rooms.insert(place, room)
        if len(keys) > _SLICE:
            half = len(keys) // 2
            self._keys[at : at + 1] = keys[:half], keys[half:]
            self._rooms[at : at + 1] = rooms[:half], rooms[half:]
            self._most[at : at + 1] = _most(rooms[:half]), _most(rooms[half:])
            self._last[at : at + 1] = keys[half - 1], keys[-1]
        else:
            self._most[at] = _more(self._most[at], room)
            self._last[at] = keys[-1]

    def remove(self, key: Key) -> None:
        """Take out a key that is there."""
        at = bisect_left(self._last, key)
        keys, rooms = self._keys[at], self._rooms[at]
        place = bisect_left(keys, key)
        del keys[place]
        room = rooms.pop(place)
        if not keys:
            del self._keys[at], self._rooms[at], self._most[at], self._last[at]
            return
        self._last[at] = keys[-1]
        if _reaches(room, self._most[at]):
            self._most[at] = _most(rooms)

    def first(
        self,
        wanted: Resources,
        *,
        exclude: Collection[str],
        start: tuple[int, ...] = (),
        before: tuple[int | str, ...] | None = None,
    ) -> Key | None:
        """The lowest key, from `start` on and below `before`, with room enough behind it."""
        cpu, gpu, memory, storage = wanted.cpu, wanted.gpu, wanted.memory, wanted.storage
        at = bisect_left(self._last, start)
        for slice_at, most in enumerate(self._most[at:], at):
            if cpu > most[0] or gpu > most[1] or memory > most[2] or storage > most[3]:
                continue
            keys = self._keys[slice_at]
            if before is not None and keys[0] >= before:
                return None
            for place, (c, g, m, s) in enumerate(self._rooms[slice_at]):
                if (
                    cpu <= c
                    and gpu <= g
                    and memory <= m
                    and storage <= s
                    and keys[place][-1] not in exclude
                ):
                    found = keys[place]
                    return found if before is None or found < before else None
        return None


class Order:
    """All nodes that a ranking admits and that can be given work."""

    def __init__(self, ranking: Ranking) -> None:
        self._ranking = ranking
        self._is_plain = ranking.is_plain
        self._prefers = ranking.prefers
        self._shelves: dict[tuple[tuple[str, ...], SizeClass], Shelf] = {}
        self._places: dict[str, tuple[tuple[tuple[str, ...], SizeClass], Key, Room]] = {}
        self._stale: set[str] = set()

    def mark(self, node_id: str) -> None:
        """The node has changed; it is looked at again before the next search."""
        self._stale.add(node_id)

    def refresh(self, nodes: Mapping[str, KnownNode]) -> None:
        """Take in what has been marked."""
        for node_id in self._stale:
            self._replace(node_id, nodes.get(node_id))
        self._stale.clear()

    def first(self, kind: str, wanted: Resources, *, exclude: Collection[str]) -> str | None:
        """The best node with an executor for the kind and room for `wanted`."""
        best: Key | None = None
        for (kinds, size), shelf in self._shelves.items():
            if kind not in kinds:
                continue
            demand = self._ranking.demand(wanted, size)
            # A node with less than is wanted does not fit: begin where there may be enough.
            start = (0, 0, demand) if demand > 0 and not self._prefers else ()
            before = None if best is None else (best[0], best[1], best[2] + demand, *best[3:])
            found = shelf.first(wanted, exclude=exclude, start=start, before=before)
            if found is not None:
                best = (found[0], found[1], found[2] - demand, found[3], found[4], found[5])
        return None if best is None else best[-1]

    def _replace(self, node_id: str, node: KnownNode | None) -> None:
        place = None
        if (
            node is not None
            and _may_be_given_work(node)
            and (self._is_plain or self._ranking.admits(node.state))
        ):
            group = (node.state.kinds, self._ranking.size(node))
            place = (group, self._ranking.key(node, _NOTHING), _room(node))
        before = self._places.get(node_id)
        if before == place:
            return
        if before is not None:
            shelf = self._shelves[before[0]]
            shelf.remove(before[1])
            if not shelf:
                del self._shelves[before[0]]
            del self._places[node_id]
        if place is not None:
            self._shelves.setdefault(place[0], Shelf()).add(place[1], place[2])
            self._places[node_id] = place


_NOTHING = Resources()


def _may_be_given_work(node: KnownNode) -> bool:
    return node.reachable and node.linked and node.candidate and not node.state.draining


def _room(node: KnownNode) -> Room:
    available, capacity = node.state.available, node.state.capacity
    return (
        min(available.cpu, capacity.cpu),
        min(available.gpu, capacity.gpu),
        min(available.memory, capacity.memory),
        min(available.storage, capacity.storage),
    )


def _more(one: Room, other: Room) -> Room:
    return (
        max(one[0], other[0]),
        max(one[1], other[1]),
        max(one[2], other[2]),
        max(one[3], other[3]),
    )


def _reaches(room: Room, most: Room) -> bool:
    return room[0] == most[0] or room[1] == most[1] or room[2] == most[2] or room[3] == most[3]


def _most(rooms: Collection[Room]) -> Room:
    cpu, gpu, memory, storage = zip(*rooms, strict=True)
    return (max(cpu), max(gpu), max(memory), max(storage))
