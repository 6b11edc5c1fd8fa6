"""PURE: who runs what. The protocol between a workload's owner and the node that runs it."""

from cnet.delegation.coordinator import Coordinator
from cnet.delegation.world import Job, World

__all__ = ["Coordinator", "Job", "World"]
