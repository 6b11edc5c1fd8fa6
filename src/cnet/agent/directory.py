"""Which services there are and where: what runs here, and what other nodes tell of theirs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import anyio

from cnet.api.services.replicas import Routed, Share
from cnet.errors import NotFoundError
from cnet.manager import Manager
from cnet.model.lifecycle import Phase
from cnet.model.node import KnownNode
from cnet.model.route import SERVICE_ID_LABEL, VERSION_LABEL, RouteVersion, ServiceRoute


@dataclass(frozen=True, slots=True)
class Replica:
    """One workload that is ready to serve; `endpoint` only where it runs on this node."""

    workload_id: str
    node_id: str
    endpoint: str | None = None
    relayed: bool = False


class ServiceDirectory:
    """Services by name and by workload id, kept by what changes: a look-up costs its replicas."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._by_name: defaultdict[str, dict[str, str]] = defaultdict(dict)  # name → id → node
        self._by_id: dict[str, str] = {}
        self._told: dict[str, KnownNode] = {}
        self._news = anyio.Event()
        self._routes: defaultdict[str, dict[str, ServiceRoute]] = defaultdict(dict)

    def node_changed(self, node_id: str, node: KnownNode | None) -> None:
        """Another node tells of its services, or is not known any more."""
        before = self._told.pop(node_id, None)
        if node is not None:
            self._told[node_id] = node
            if before is not None and (before.state.services, before.state.routes) == (
                node.state.services,
                node.state.routes,
            ):
                return
        self.changed()
        for name in () if before is None else before.state.routes:
            del self._routes[name][node_id]
            if not self._routes[name]:
                del self._routes[name]
        for name, route in () if node is None else node.state.routes.items():
            self._routes[name][node_id] = route
        for name, workload_id in _pairs(before):
            if self._by_name[name].get(workload_id) == node_id:
                del self._by_name[name][workload_id]
                self._by_id.pop(workload_id, None)
            if not self._by_name[name]:
                del self._by_name[name]
        for name, workload_id in _pairs(node):
            self._by_name[name][workload_id] = node_id
            self._by_id[workload_id] = node_id

    def routed(self, name: str) -> Routed | None:
        """A service that an agent owns; of two of one name the older one."""
        routes = dict(self._routes.get(name, ()))
        own = self._manager.own_node.routes.get(name)
        if own is not None:
            routes[self._manager.node_id] = own
        if not routes:
            return None
        owner = min(routes, key=lambda node_id: (routes[node_id].created_at, node_id))
        route = routes[owner]
        return Routed(
            name=name,
            owner=owner,
            retry=route.retry,
            hold_s=route.hold_s,
            shares=[
                Share(each.version, each.weight, self._ready(each, owner))
                for each in route.versions
            ],
        )

    def all_routed(self) -> Sequence[Routed]:
        """Every service that an agent owns, by name."""
        names = sorted({*self._manager.own_node.routes, *self._routes})
        return [routed for name in names if (routed := self.routed(name)) is not None]

    def replica_of(self, workload_id: str) -> tuple[str, str, str] | None:
        """Service, version and id of the service of a workload here; None: it is no replica."""
        try:
            spec = self._manager.get(workload_id).spec
        except NotFoundError:
            return None
        version = spec.labels.get(VERSION_LABEL)
        service_id = spec.labels.get(SERVICE_ID_LABEL)
        return None if version is None or service_id is None else (spec.name, version, service_id)

    async def change(self) -> None:
        """Return when something that was told may be different now."""
        await self._news.wait()

    def changed(self) -> None:
        """Something that was told may be different now."""
        news, self._news = self._news, anyio.Event()
        news.set()

    def owner_elsewhere(self, name: str) -> str | None:
        """Another node that owns a service of this name."""
        return min(self._routes.get(name, ()), default=None)

    def _ready(self, version: RouteVersion, owner: str) -> list[Replica]:
        found: list[Replica] = []
        for workload_id in version.replicas:
            node_id = self._by_id.get(workload_id)
            if node_id is not None:
                if self._told[node_id].reachable:
                    found.append(Replica(workload_id, node_id))
            elif (here := self._here(workload_id)) is not None:
                found.append(here)
            elif workload_id in version.ready and self._relays(owner):
                found.append(Replica(workload_id, owner, relayed=True))
        return found

    def _relays(self, owner: str) -> bool:
        """Whether the owner may be asked to reach what cannot be seen from here."""
        known = self._told.get(owner)
        return known is not None and known.reachable

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
