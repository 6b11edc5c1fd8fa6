"""Checks and scorers over all nodes → a plan that says where, and for every other node why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cnet.model.resources import Resources
from cnet.model.workload import Strategy, WorkloadSpec
from cnet.scheduler.checks import LASTING, failures
from cnet.scheduler.index import NodeIndex
from cnet.scheduler.preemption import node_to_preempt
from cnet.scheduler.scorers import Ranking, with_data

NOBODY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Plan:
    """`candidates` best first; `rejections` node → why not."""

    candidates: tuple[str, ...]
    rejections: dict[str, tuple[str, ...]]
    """every constraint that a node fails; the node asked for first, then as the default strategy
    orders them"""
    impossible: bool
    """no known node could ever hold it, however empty"""
    preempt: str | None = None
    """without candidates: the node that could hold it if workloads of lower priority ended"""

    def reasons(self, limit: int | None = None) -> list[str]:
        """One line per node: `nanjing: memory 1.5 GiB short`; beyond `limit` only their number."""
        lines = [f"{node}: {', '.join(whys)}" for node, whys in self.rejections.items()]
        if limit is None or len(lines) <= limit:
            return lines
        return [*lines[:limit], f"and {len(lines) - limit} more nodes"]


def plan(
    spec: WorkloadSpec,
    index: NodeIndex,
    *,
    strategy: Strategy,
    now: float,
    wanted: Resources | None = None,
    exclude: Mapping[str, str] = NOBODY,
) -> Plan:
    """Look at every node; `NodeIndex.best` alone is far cheaper where the reasons do not matter.

    `wanted` is the room it asks for (default: its requirements), `now` the monotonic time in
    seconds. Nodes of `exclude` are passed over: they have refused it, with these words.
    """
    wanted = spec.requirements.to_resources() if wanted is None else wanted
    ranking = Ranking.of(spec, strategy)
    held = index.data_held(spec)
    candidates = []
    rejections: dict[str, tuple[str, ...]] = {}
    lasting = True
    nearness = Ranking("default")
    for node in sorted(index.nodes(), key=lambda node: nearness.key(node, wanted)):
        failed = failures(spec, wanted, node, now)
        lasting = lasting and any(check in LASTING for check, _ in failed)
        if failed:
            rejections[node.node_id] = tuple(why for _, why in failed)
        elif node.node_id in exclude:
            rejections[node.node_id] = (f"has refused it: {exclude[node.node_id]}",)
        else:
            candidates.append(with_data(ranking.key(node, wanted), held))
    if spec.node is not None and not candidates:
        rejections = {spec.node: rejections.pop(spec.node, ("not known here",)), **rejections}
        lasting = lasting and spec.node in index
    preempt = None
    if not candidates:
        preempt = node_to_preempt(spec, wanted, index, now=now, exclude=exclude)
    return Plan(tuple(key[-1] for key in sorted(candidates)), rejections, lasting, preempt)
