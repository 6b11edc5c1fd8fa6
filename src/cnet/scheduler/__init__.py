"""PURE: where a workload goes, and why not elsewhere. Known nodes in, a node or a plan out."""

from cnet.scheduler.checks import CHECKS, LASTING, Check, failures, fits
from cnet.scheduler.index import NodeIndex
from cnet.scheduler.planning import Plan, plan
from cnet.scheduler.preemption import Running, node_to_preempt, priority_disturbed, victims
from cnet.scheduler.queue import PendingQueue, shape_of
from cnet.scheduler.scorers import RULES, Ranking, Rule

__all__ = [
    "CHECKS",
    "LASTING",
    "RULES",
    "Check",
    "NodeIndex",
    "PendingQueue",
    "Plan",
    "Ranking",
    "Rule",
    "Running",
    "failures",
    "fits",
    "node_to_preempt",
    "plan",
    "priority_disturbed",
    "shape_of",
    "victims",
]
