"""The nodes an agent knows, kept so that a decision costs far less than a look at each of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

from cnet.model.data import data_keys
from cnet.model.node import KnownNode, NodeState
from cnet.model.resources import Resources
from cnet.model.workload import Affinity, Strategy, WorkloadSpec
from cnet.scheduler.affinity import ANY
from cnet.scheduler.checks import fits
from cnet.scheduler.order import Order
from cnet.scheduler.scorers import NOTHING_HELD, RULES, Ranking, with_data

_FEW = 32
"""So many nodes are looked at one by one."""

_HOLDERS = 256
"""Nodes with data that a spec names which are preferred to others; there may be more."""

_KEPT_ORDERS = 64
_KEPT_NODES = 200_000
"""Orders kept for specs with terms or labels, and nodes in all of them; some 400 bytes each."""

_Label = tuple[str, str, str]
"""("node" or "workload", key, value or `*`)."""


class NodeIndex:
    """All known nodes; `put` after every change of one.

    A plain decision costs a walk over slices of some dozen nodes (see `order`). A spec with terms
    of affinity, or labels to spread, is decided apart for the few nodes that hold a label it names,
    and as a plain one for all others; where many nodes hold it, by an order kept for such specs,
    whose first use costs a look at every node.
    """

    def __init__(self, nodes: Iterable[KnownNode] = ()) -> None:
        self._nodes: dict[str, KnownNode] = {}
        self._holders: dict[_Label, set[str]] = {}
        self._with_data: dict[str, dict[str, None]] = {}
        """key of stored data → nodes that have some of it, as they came"""
        self._preemptible: set[str] = set()
        self._plain: dict[Strategy, Order] = {}
        self._special: OrderedDict[tuple[object, ...], Order] = OrderedDict()
        for node in nodes:
            self.put(node)

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._nodes

    def get(self, node_id: str) -> KnownNode | None:
        """The node as last put."""
        return self._nodes.get(node_id)

    def nodes(self) -> Iterator[KnownNode]:
        """All of them, in no particular order."""
        return iter(self._nodes.values())

    def with_preemptible(self) -> Iterator[KnownNode]:
        """Those that hold workloads which may be ended for others."""
        return (self._nodes[node_id] for node_id in self._preemptible)

    def put(self, node: KnownNode) -> None:
        """Enter a node, or what is new of it."""
        before = self._nodes.get(node.node_id)
        self._nodes[node.node_id] = node
        self._note(before.state if before else None, node.state, node.node_id)

    def remove(self, node_id: str) -> None:
        """Forget a node; harmless when it is not known."""
        before = self._nodes.pop(node_id, None)
        if before is not None:
            self._note(before.state, None, node_id)

    def best(
        self,
        spec: WorkloadSpec,
        wanted: Resources,
        *,
        strategy: Strategy,
        now: float,
        exclude: Collection[str] = (),
    ) -> str | None:
        """The first candidate of `plan`, or None when there is none.

        `wanted` is the room it asks for, `now` the monotonic time in seconds, `exclude` the ids of
        nodes to pass over.
        """
        if spec.node is not None:
            return self._best_of((spec.node,), spec, wanted, strategy, now, exclude)
        held = self.data_held(spec)
        if not held:
            return self._best_anywhere(spec, wanted, strategy, now, exclude)
        other = self._best_anywhere(spec, wanted, strategy, now, {*exclude, *held})
        node_ids = [*held, other] if other is not None else held
        return self._best_of(node_ids, spec, wanted, strategy, now, exclude, held)

    def data_held(self, spec: WorkloadSpec) -> Mapping[str, int]:
        """Nodes that have stored data which the spec names → bytes of it."""
        held: dict[str, int] = {}
        if not self._with_data:
            return held
        for data_key in data_keys(spec.config):
            for node_id in islice(self._with_data.get(data_key, ()), _HOLDERS):
                size = self._nodes[node_id].state.data[data_key]
                held[node_id] = held.get(node_id, 0) + size
        return held

    def _best_anywhere(
        self,
        spec: WorkloadSpec,
        wanted: Resources,
        strategy: Strategy,
        now: float,
        exclude: Collection[str],
    ) -> str | None:
        if not (spec.affinity or spec.anti_affinity or (spec.labels and RULES[strategy].crowd)):
            order = self._plain.get(strategy) or self._keep_plain(strategy)
            order.refresh(self._nodes)
            return order.first(spec.type, wanted, exclude=exclude)
        for term in spec.affinity:
            if term.required and len(holders := self._holders_of(term)) <= _FEW:
                return self._best_of(holders, spec, wanted, strategy, now, exclude)
        apart, others = self._set_apart(Ranking.of(spec, strategy))
        order = self._order(others)
        found = order.first(spec.type, wanted, exclude={*exclude, *apart} if apart else exclude)
        if found is not None:
            apart.add(found)
        return self._best_of(apart, spec, wanted, strategy, now, exclude)

    def _best_of(
        self,
        node_ids: Iterable[str],
        spec: WorkloadSpec,
        wanted: Resources,
        strategy: Strategy,
        now: float,
        exclude: Collection[str],
        held: Mapping[str, int] = NOTHING_HELD,
    ) -> str | None:
        ranking = Ranking.of(spec, strategy)
        keys = [
            with_data(ranking.key(node, wanted), held)
            for node_id in node_ids
            if node_id not in exclude
            and (node := self._nodes.get(node_id)) is not None
            and fits(spec, wanted, node, now)
        ]
        return min(keys)[-1] if keys else None

    def _set_apart(self, ranking: Ranking) -> tuple[set[str], Ranking]:
        """Few nodes that terms or labels are about, and what is left to rank the others by."""
        apart: set[str] = set()

        def concerns_many(term: Affinity) -> bool:
            holders = self._holders_of(term)
            if len(holders) > _FEW:
                return True
            apart.update(holders)
            return False

        # No other node holds what such a term names: a preferred one is to all of them the same,
        # and a required one (of anti-affinity, `best` has seen to affinity) rules none of them out.
        affinity = tuple(term for term in ranking.affinity if concerns_many(term))
        anti_affinity = tuple(term for term in ranking.anti_affinity if concerns_many(term))
        others = replace(ranking, affinity=affinity, anti_affinity=anti_affinity)
        if others.labels:
            holders = min(
                (self._holders.get(_workload_label(pair), set()) for pair in others.labels),
                key=len,
            )
            if len(holders) <= _FEW:
                apart |= holders
                others = replace(others, strategy="least_loaded", labels=())
        return apart, others

    def _holders_of(self, term: Affinity) -> Collection[str]:
        """Few nodes among which all are that match the term."""
        what, labels = (
            ("node", term.node_labels) if term.node_labels else ("workload", term.workload_labels)
        )
        return min((self._holders.get((what, *pair), set()) for pair in labels.items()), key=len)

    def _order(self, ranking: Ranking) -> Order:
        if ranking.is_plain:
            order = self._plain.get(ranking.strategy) or self._keep_plain(ranking.strategy)
        else:
            name = ranking.identity()
            order = self._special.get(name) or self._new_order(ranking)
            self._special[name] = order
            self._special.move_to_end(name)
            kept = min(_KEPT_ORDERS, _KEPT_NODES // len(self._nodes)) if self._nodes else 0
            while len(self._special) > max(1, kept):
                self._special.popitem(last=False)
        order.refresh(self._nodes)
        return order

    def _keep_plain(self, strategy: Strategy) -> Order:
        order = self._plain[strategy] = self._new_order(Ranking(strategy))
        return order

    def _new_order(self, ranking: Ranking) -> Order:
        order = Order(ranking)
        for node_id in self._nodes:
            order.mark(node_id)
        return order

    def _note(self, before: NodeState | None, after: NodeState | None, node_id: str) -> None:
        for order in self._plain.values():
            order.mark(node_id)
        for order in self._special.values():
            order.mark(node_id)
        if after is not None and after.preemptible:
            self._preemptible.add(node_id)
        else:
            self._preemptible.discard(node_id)
        self._note_data(before, after, node_id)
        if before is not None and after is not None and _same_labels(before, after):
            return
        old = set(_labels_of(before)) if before else set()
        new = set(_labels_of(after)) if after else set()
        for label in old - new:
            holders = self._holders[label]
            holders.discard(node_id)
            if not holders:
                del self._holders[label]
        for label in new - old:
            self._holders.setdefault(label, set()).add(node_id)

    def _note_data(self, before: NodeState | None, after: NodeState | None, node_id: str) -> None:
        old = before.data if before is not None else {}
        new = after.data if after is not None else {}
        if old == new:
            return
        for data_key in old.keys() - new.keys():
            holders = self._with_data[data_key]
            holders.pop(node_id)
            if not holders:
                del self._with_data[data_key]
        for data_key in new.keys() - old.keys():
            self._with_data.setdefault(data_key, {})[node_id] = None


def _same_labels(one: NodeState, other: NodeState) -> bool:
    return one.labels == other.labels and one.workload_labels == other.workload_labels


def _labels_of(state: NodeState) -> Iterator[_Label]:
    for key, value in state.labels.items():
        yield ("node", key, value)
        yield ("node", key, ANY)
    for pair, count in state.workload_labels.items():
        if count:
            yield from _readings(pair)


def _readings(pair: str) -> Iterator[_Label]:
    """A key may itself contain `=`: every way to read `key=value`."""
    at = pair.find("=")
    while at >= 0:
        yield ("workload", pair[:at], pair[at + 1 :])
        yield ("workload", pair[:at], ANY)
        at = pair.find("=", at + 1)


def _workload_label(pair: str) -> _Label:
    key, _, value = pair.partition("=")
    return ("workload", key, value)
