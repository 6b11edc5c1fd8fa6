"""Which services there are and where: what runs here, and what other nodes tell of theirs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from cnet.errors import NotFoundError
from cnet.manager import Manager
from cnet.model.lifecycle import Phase
from cnet.model.node import KnownNode


@dataclass(frozen=True, slots=True)
class Replica:
    """One workload that is ready to serve; `endpoint` only where it runs on this node."""

    workload_id: str
    node_id: str
    endpoint: str | None = None


class ServiceDirectory:
    """Services by name and by workload id, kept by what changes: a look-up costs its replicas."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._by_name: defaultdict[str, dict[str, str]] = defaultdict(dict)  # name → id → node
        self._by_id: dict[str, str] = {}
        self._told: dict[str, KnownNode] = {}

    def node_changed(self, node_id: str, node: KnownNode | None) -> None:
        """Another node tells of its services, or is not known any more."""
        before = self._told.pop(node_id, None)
        if node is not None:
            self._told[node_id] = node
            if before is not None and before.state.services == node.state.services:
                return
        for name, workload_id in _pairs(before):
            if self._by_name[name].get(workload_id) == node_id:
                del self._by_name[name][workload_id]
                self._by_id.pop(workload_id, None)
            if not self._by_name[name]:
                del self._by_name[name]
        for name, workload_id in _pairs(node):
            self._by_name[name][workload_id] = node_id
            self._by_id[workload_id] = node_id

    def replicas(self, name: str) -> Sequence[Replica]:
        """Those that are ready and can be reached."""
        here = list(self._manager.own_node.services().get(name, ()))
        found = [replica for each in here or [name] if (replica := self._here(each)) is not None]
        elsewhere = self._by_name.get(name)
        if elsewhere is None:
            node_id = self._by_id.get(name)
            elsewhere = {} if node_id is None else {name: node_id}
        found += [
            Replica(workload_id, node_id)
            for workload_id, node_id in elsewhere.items()
            if self._told[node_id].reachable
        ]
        return found

    def absence(self, name: str) -> str | None:
        """Why a known service has no ready replica."""
        workload = self._known(name)
        if workload is not None:
            return workload
        nodes = {*self._by_name.get(name, {}).values()} or {self._by_id.get(name)} - {None}
        if nodes:
            return f"it runs on {', '.join(sorted(map(str, nodes)))}, which cannot be reached"
        return None

    def names(self) -> Collection[str]:
        """Names of the services that are ready anywhere."""
        return {*self._manager.own_node.services(), *self._by_name}

    def _here(self, workload_id: str) -> Replica | None:
        try:
            status = self._manager.get(workload_id).status
        except NotFoundError:
            return None
        if status.host is not None or status.phase != Phase.RUNNING or status.endpoint is None:
            return None
        return Replica(workload_id, self._manager.node_id, status.endpoint)

    def _known(self, name: str) -> str | None:
        for workload in self._manager.workloads():
            if name in {workload.spec.name, workload.id} and not workload.status.is_terminal:
                status = workload.status
                said = f": {status.detail}" if status.detail else ""
                return f"workload {workload.id} is {status.phase}{said}"
        return None


def _pairs(node: KnownNode | None) -> Iterator[tuple[str, str]]:
    if node is not None:
        for name, ids in node.state.services.items():
            for workload_id in ids:
                yield name, workload_id
