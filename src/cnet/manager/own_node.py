"""This node as others are told of it, kept up to date with every change of a workload."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from cnet.manager.workloads import Workload
from cnet.model.lifecycle import Phase
from cnet.model.node import NodeState
from cnet.model.resources import Resources
from cnet.model.route import ServiceRoute
from cnet.model.workload import WorkloadStatus
from cnet.register import Ledger


class OwnNode:
    """Counts what runs here; `state()` is a `NodeState` with a number of its own.

    `incarnation` counts the starts of the agent on its data directory.
    """

    def __init__(
        self, node_id: str, ledger: Ledger, kinds: Iterable[str], *, incarnation: int
    ) -> None:
        self.node_id = node_id
        self.incarnation = incarnation
        self.labels: dict[str, str] = {}
        self.draining = False
        self.address = ""
        self.parent_id: str | None = None
        self.peers: tuple[str, ...] = ()
        self.data: Mapping[str, int] = {}
        self.routes: Mapping[str, ServiceRoute] = {}
        self._ledger = ledger
        self.kinds = tuple(sorted(kinds))
        """that can be run now"""
        self._seq = 0
        self._labels: Counter[str] = Counter()
        self._preemptible: defaultdict[int, Resources] = defaultdict(Resources)
        self._services: defaultdict[str, dict[str, None]] = defaultdict(dict)

    def count(self, workload: Workload, before: WorkloadStatus | None) -> None:
        """Take in that a workload's status was `before` (None: it was not counted yet)."""
        status = workload.status
        held = before is not None and before.holds_room
        if held != status.holds_room:
            self._count_labels(workload, status.holds_room)
        offered = before is not None and before.may_be_preempted
        if workload.spec.preemptible and offered != status.may_be_preempted:
            self._count_preemptible(workload, status.may_be_preempted)
        served = before is not None and _serves(before)
        if served != _serves(status):
            self._count_service(workload, _serves(status))

    def discount(self, workload: Workload) -> None:
        """Take back what was counted of a workload that is dropped before it was accepted."""
        if workload.status.holds_room:
            self._count_labels(workload, holds=False)
        if workload.spec.preemptible and workload.status.may_be_preempted:
            self._count_preemptible(workload, runs=False)

    def _count_labels(self, workload: Workload, holds: bool) -> None:
        for key, value in workload.spec.labels.items():
            pair = f"{key}={value}"
            self._labels[pair] += 1 if holds else -1
            if not self._labels[pair]:
                del self._labels[pair]

    def _count_preemptible(self, workload: Workload, runs: bool) -> None:
        priority = workload.spec.priority
        room = self._preemptible[priority]
        room = room + workload.wanted if runs else room - workload.wanted
        self._preemptible[priority] = room
        if room == Resources():
            del self._preemptible[priority]

    def _count_service(self, workload: Workload, serves: bool) -> None:
        replicas = self._services[workload.spec.name]
        if serves:
            replicas[workload.id] = None
        else:
            replicas.pop(workload.id, None)
            if not replicas:
                del self._services[workload.spec.name]

    @property
    def version(self) -> tuple[int, int]:
        """Of the last state that was made."""
        return (self.incarnation, self._seq)

    def services(self) -> Mapping[str, Iterable[str]]:
        """Name of a service → ids of its replicas that are ready here."""
        return self._services

    def state(self) -> NodeState:
        """The node as it is now."""
        self._seq += 1
        return NodeState(
            node_id=self.node_id,
            incarnation=self.incarnation,
            seq=self._seq,
            capacity=self._ledger.capacity,
            available=self._ledger.available,
            kinds=self.kinds,
            labels=dict(self.labels),
            draining=self.draining,
            address=self.address,
            parent_id=self.parent_id,
            peers=self.peers,
            workloads=len(self._ledger),
            workload_labels=dict(self._labels),
            preemptible=tuple(sorted(self._preemptible.items())),
            services={name: tuple(ids) for name, ids in self._services.items()},
            routes=self.routes,
            data=self.data,
        )


def _serves(status: WorkloadStatus) -> bool:
    return status.host is None and status.phase == Phase.RUNNING and status.endpoint is not None
