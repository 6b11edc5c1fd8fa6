"""submit → place → run → track; the journal; recovery. The only writer of workload state."""

from cnet.manager.journal import Journal
from cnet.manager.manager import Manager
from cnet.manager.workloads import Workload

__all__ = ["Journal", "Manager", "Workload"]
