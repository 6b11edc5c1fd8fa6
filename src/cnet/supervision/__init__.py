"""Child processes that outlive the agent: spawner, shims, control groups, logs, exit records.

The agent's side is `Supervisor` and `Run`; the other side (`spawner` and what it imports) is
standard library only and runs in processes of its own.
"""

from cnet.supervision.cgroups import Cgroups
from cnet.supervision.exec_process import ExecOrder, ExecProcess, exec_in
from cnet.supervision.lease import now as lease_now
from cnet.supervision.logs import follow, tail
from cnet.supervision.run import Run
from cnet.supervision.supervisor import Supervisor
from cnet.supervision.values import Limits, RunExit, RunSpec, Usage

__all__ = [
    "Cgroups",
    "ExecOrder",
    "ExecProcess",
    "Limits",
    "Run",
    "RunExit",
    "RunSpec",
    "Supervisor",
    "Usage",
    "exec_in",
    "follow",
    "lease_now",
    "tail",
]
