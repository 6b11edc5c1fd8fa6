"""Where workloads of this node are reached: ports claimed for them, and what their status says."""

from __future__ import annotations

from collections.abc import Sequence

from cnet.executors.base import PublishesPorts, ServesEndpoint, WantedPort
from cnet.manager.ports import choose_ports, require_free
from cnet.manager.state import State
from cnet.manager.workloads import Workload


def has_ports(workload: Workload) -> bool:
    """Whether it is reached at ports of its node."""
    return isinstance(workload.executor, ServesEndpoint | PublishesPorts)


def endpoint_changes(workload: Workload, state: State, node_id: str) -> dict[str, object]:
    """Claim its ports; the status changes that tell of them. Raises PortTakenError."""
    executor = workload.executor
    wanted = wanted_ports(workload)
    if isinstance(executor, ServesEndpoint):
        last = [] if workload.status.port is None else [workload.status.port]
        (port,) = choose_ports(state.ports, workload.id, wanted, last=last)
        workload.change(port=port)
        return {"port": port, "endpoint": executor.endpoint(workload.task(node_id))}
    if isinstance(executor, PublishesPorts):
        last = [each["host_port"] for each in workload.status.ports]
        chosen = choose_ports(state.ports, workload.id, wanted, last=last)
        task = workload.task(node_id, ports=chosen)
        ports = tuple(dict(each) for each in executor.published(task))
        return {"ports": ports, "endpoint": executor.endpoint(task)}
    return {}


def require_ports(workload: Workload, state: State) -> None:
    """Raises PortTakenError when a port that it must have is taken."""
    for each in wanted_ports(workload):
        if each.port:
            require_free(state.ports, workload.id, each)


def wanted_ports(workload: Workload) -> Sequence[WantedPort]:
    """What its config asks for."""
    executor, config = workload.executor, workload.config
    if isinstance(executor, PublishesPorts):
        return executor.wanted_ports(config)
    if isinstance(executor, ServesEndpoint):
        return [WantedPort(host=executor.host(config), port=executor.wanted_port(config))]
    return []
