"""PURE: where a workload goes, and why not elsewhere. A snapshot of nodes in, a plan out."""

from cnet.scheduler.checks import CHECKS, Check, NodeSnapshot
from cnet.scheduler.plan import Plan, place

__all__ = ["CHECKS", "Check", "NodeSnapshot", "Plan", "place"]
