"""Checks over nodes → a plan that says where, and for every other node why not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cnet.model.workload import WorkloadSpec
from cnet.scheduler.checks import CHECKS, LASTING, NodeSnapshot


@dataclass(frozen=True, slots=True)
class Plan:
    """`candidates` best first; `rejections` node → why not."""

    candidates: tuple[str, ...]
    rejections: dict[str, str]
    impossible: bool
    """no known node could ever hold it, however empty"""

    def reasons(self) -> list[str]:
        """One line per node: `nanjing: memory 1.5 GiB short`."""
        return [f"{node}: {why}" for node, why in self.rejections.items()]


def place(spec: WorkloadSpec, nodes: Iterable[NodeSnapshot]) -> Plan:
    """The nodes that fit, in the order given, and why the others do not."""
    wanted = spec.requirements.to_resources()
    candidates: list[str] = []
    rejections: dict[str, str] = {}
    waiting_helps = False
    for node in nodes:
        for check in CHECKS:
            why_not = check(spec, wanted, node)
            if why_not is not None:
                rejections[node.node_id] = why_not
                waiting_helps = waiting_helps or check not in LASTING
                break
        else:
            candidates.append(node.node_id)
    return Plan(tuple(candidates), rejections, impossible=not candidates and not waiting_helps)
