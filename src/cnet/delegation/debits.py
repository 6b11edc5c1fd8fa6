"""Room that was just promised on a node, and that the node's own state does not count yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from cnet.model.node import NodeState
from cnet.model.resources import Resources

Version = tuple[int, int]
"""Of a node's state: (incarnation, number)."""


@dataclass(frozen=True, slots=True)
class _Debit:
    room: Resources
    labels: tuple[str, ...]
    """each `key=value`"""


@dataclass(slots=True)
class Debits:
    """Of one node. Sums are kept, since one node may be asked for hundreds of jobs at once."""

    _debits: dict[str, _Debit] = field(default_factory=dict)
    _counted_from: dict[str, Version] = field(default_factory=dict)
    """of those that the node has answered: its state of that version or later counts them"""
    _owed: Resources = field(default_factory=Resources)
    _labels: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self._debits)

    def __iter__(self) -> Iterator[str]:
        return iter(self._debits)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._debits

    def add(self, job_id: str, room: Resources, labels: Iterable[str]) -> None:
        """The node is about to be asked for this."""
        self._remove(job_id)
        debit = self._debits[job_id] = _Debit(room, tuple(labels))
        self._owed += room
        self._labels.update(debit.labels)

    def answered(self, job_id: str, version: Version) -> None:
        """The node's state counts it, as far as it does, from `version` on."""
        if job_id in self._debits:
            self._counted_from[job_id] = version

    def seen(self, version: Version | None) -> bool:
        """Drop what a state of that version counts (None: the node is gone); whether there was."""
        counted = [
            job_id
            for job_id, counted_from in self._counted_from.items()
            if version is None or counted_from <= version
        ]
        for job_id in counted:
            self._remove(job_id)
        return bool(counted)

    def taken_from(self, state: NodeState) -> NodeState:
        """The node as it will be."""
        if not self._debits:
            return state
        labels = state.workload_labels
        if self._labels:
            labels = Counter(labels)
            labels.update(self._labels)
        available = state.available.minus_floor(self._owed)
        return replace(state, available=available, workload_labels=labels)

    def _remove(self, job_id: str) -> None:
        debit = self._debits.pop(job_id, None)
        self._counted_from.pop(job_id, None)
        if debit is None:
            return
        self._owed -= debit.room
        for pair in debit.labels:
            self._labels[pair] -= 1
            if not self._labels[pair]:
                del self._labels[pair]
