"""Which of the nodes that fit is the best: a strategy is a row of `RULES`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Self

from cnet.model.node import KnownNode, NodeState, NodeType
from cnet.model.resources import Resources
from cnet.model.workload import Affinity, Strategy, WorkloadSpec
from cnet.scheduler.affinity import identity, matches, preference, workloads_sharing

Key = tuple[int, int, int, int, int, str]
"""(-preference, crowd, leftover or -leftover, type of node, hops, node_id); the lowest is best."""

KeyWithData = tuple[int, int, int, int, int, int, str]
"""The same with minus the bytes of data held as its third part."""

NOTHING_HELD: Mapping[str, int] = MappingProxyType({})

SizeClass = tuple[int, int]
"""(millicores, bytes of memory) of a capacity, each rounded up to four significant bits."""

NO_SIZE: Final[SizeClass] = (0, 0)
_UNIT = 1_000_000
_NEARNESS: Mapping[NodeType, int] = {"local": 0, "child": 1, "peer": 2, "parent": 3}


@dataclass(frozen=True, slots=True)
class Rule:
    """How a strategy orders nodes, before nearness and name decide."""

    leftover: int = 0
    """1: least left over first; -1: most left over first; 0: of no account"""
    crowd: bool = False
    """fewest workloads of the same labels first"""


RULES: Mapping[Strategy, Rule] = {
    "default": Rule(),
    "best_fit": Rule(leftover=1),
    "least_loaded": Rule(leftover=-1),
    "spread": Rule(leftover=-1, crowd=True),
}


def size_class(capacity: Resources) -> SizeClass:
    """The class of nodes whose leftovers are compared by one measure.

    Machines of one make differ by a few MiB; classes are at most 12.5 % wide, so that there are few
    of them whatever the machines say, and within one of them the order of nodes by what is left
    over is the same for every workload.
    """
    return _size_class(capacity.cpu, capacity.memory)


@lru_cache(maxsize=16_384)
def _size_class(cpu: int, memory: int) -> SizeClass:
    return (_round_up(cpu), _round_up(memory))


def with_data(key: Key, held: Mapping[str, int]) -> KeyWithData:
    """The place of a node among others of which `held` (node → bytes) have data that are needed.

    Whoever has more of them comes first, after what was asked for in so many words: preferred
    terms, and the crowd of `spread`.
    """
    return (key[0], key[1], -held.get(key[-1], 0), *key[2:])


def _round_up(amount: int) -> int:
    shift = max(0, amount.bit_length() - 4)
    return -(-amount >> shift) << shift


def share(part: Resources, size: SizeClass) -> int:
    """CPU and memory of `part` as millionths of the class, summed; what it has none of is out."""
    cpu, memory = size
    return (part.cpu * _UNIT // cpu if cpu else 0) + (
        part.memory * _UNIT // memory if memory else 0
    )


@dataclass(frozen=True, slots=True)
class Ranking:
    """The order of nodes for all workloads with this strategy, these terms and these labels."""

    strategy: Strategy
    affinity: tuple[Affinity, ...] = ()
    anti_affinity: tuple[Affinity, ...] = ()
    labels: tuple[str, ...] = ()
    """`key=value`, sorted; read by strategies that look at the crowd"""

    @classmethod
    def of(cls, spec: WorkloadSpec, strategy: Strategy) -> Self:
        """What the spec asks for."""
        labels: tuple[str, ...] = ()
        if spec.labels and RULES[strategy].crowd:
            labels = tuple(sorted(f"{key}={value}" for key, value in spec.labels.items()))
        return cls(strategy, tuple(spec.affinity), tuple(spec.anti_affinity), labels)

    @property
    def is_plain(self) -> bool:
        """Whether it is the same for every workload without terms and labels."""
        return not (self.affinity or self.anti_affinity or self.labels)

    @property
    def rule(self) -> Rule:
        """The row of its strategy."""
        return RULES[self.strategy]

    @property
    def prefers(self) -> bool:
        """Whether some term is preferred only."""
        return any(not term.required for term in (*self.affinity, *self.anti_affinity))

    def identity(self) -> tuple[object, ...]:
        """Hashable; equal only for rankings that admit the same nodes in the same order."""
        return (
            self.strategy,
            tuple(map(identity, self.affinity)),
            tuple(map(identity, self.anti_affinity)),
            self.labels,
        )

    def admits(self, state: NodeState) -> bool:
        """Whether all required terms hold."""
        return all(matches(term, state) for term in self.affinity if term.required) and not any(
            matches(term, state) for term in self.anti_affinity if term.required
        )

    def size(self, node: KnownNode) -> SizeClass:
        """By which class the leftover of the node is measured; `NO_SIZE` when it is not."""
        return size_class(node.state.capacity) if self.rule.leftover else NO_SIZE

    def demand(self, wanted: Resources, size: SizeClass) -> int:
        """What `wanted` takes from the third part of the key of every node of a size class."""
        return self.rule.leftover * share(wanted, size) if self.rule.leftover else 0

    def key(self, node: KnownNode, wanted: Resources) -> Key:
        """The place of the node for a workload that asks for `wanted`."""
        state, rule = node.state, RULES[self.strategy]
        leftover = crowd = 0
        if rule.leftover:
            size = size_class(state.capacity)
            leftover = rule.leftover * (share(state.available, size) - share(wanted, size))
        if rule.crowd:
            crowd = (
                workloads_sharing(self.labels, state.workload_labels)
                if self.labels
                else state.workloads
            )
        preferred = 0
        if self.affinity or self.anti_affinity:
            preferred = preference(self.affinity, self.anti_affinity, state)
        return (-preferred, crowd, leftover, _NEARNESS[node.node_type], node.hops, node.node_id)
