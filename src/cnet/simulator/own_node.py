"""A simulated node as its own scheduler and other agents are told of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

from cnet.cluster.exchange import Exchange
from cnet.delegation import Coordinator
from cnet.model.node import KnownNode, NodeState
from cnet.model.resources import Resources
from cnet.model.workload import WorkloadStatus
from cnet.register import Ledger
from cnet.simulator.job import Job
from cnet.simulator.machine import Machine


class OwnNode:
    """Counts what runs here, and tells of it, several changes at a time."""

    def __init__(
        self,
        machine: Machine,
        ledger: Ledger,
        coordinator: Coordinator[Job],
        exchange: Exchange,
        soon: Callable[[Callable[[], None]], None],
    ) -> None:
        self._machine = machine
        self._ledger = ledger
        self._coordinator = coordinator
        self._exchange = exchange
        self._soon = soon
        self._seq = 0
        self._due = False
        self._labels: Counter[str] = Counter()
        self._preemptible: defaultdict[int, Resources] = defaultdict(Resources)

    @property
    def version(self) -> tuple[int, int]:
        """Of what was told last."""
        return (self._machine.incarnation, self._seq)

    def count(self, job: Job, before: WorkloadStatus | None) -> None:
        """Take in that a job's status was `before` (None: it was not counted yet)."""
        held = before is not None and before.holds_room
        if held != job.status.holds_room:
            self._count_labels(job, job.status.holds_room)
        offered = before is not None and before.may_be_preempted
        if job.spec.preemptible and offered != job.status.may_be_preempted:
            self._count_preemptible(job, job.status.may_be_preempted)

    def _count_labels(self, job: Job, holds: bool) -> None:
        for key, value in job.spec.labels.items():
            pair = f"{key}={value}"
            self._labels[pair] += 1 if holds else -1
            if not self._labels[pair]:
                del self._labels[pair]

    def _count_preemptible(self, job: Job, runs: bool) -> None:
        room = self._preemptible[job.spec.priority]
        room = room + job.wanted if runs else room - job.wanted
        self._preemptible[job.spec.priority] = room
        if room == Resources():
            del self._preemptible[job.spec.priority]

    def room_changed(self) -> None:
        """More room, or less: the scheduler is to look again."""
        self.changed()
        self._coordinator.look_again()

    def changed(self) -> None:
        """Something about this node is new: tell of it in a moment."""
        if not self._due:
            self._due = True
            self._soon(self.tell)

    def first(self) -> None:
        """Tell of it for the first time, at once."""
        self._due = True
        self.tell()

    def tell(self) -> None:
        """Tell of the node as it is now, if there is something new."""
        if not self._due:
            return
        self._due = False
        self._seq += 1
        machine = self._machine
        state = NodeState(
            node_id=machine.node_id,
            incarnation=machine.incarnation,
            seq=self._seq,
            capacity=machine.capacity,
            available=self._ledger.available,
            kinds=machine.kinds,
            labels=machine.labels,
            draining=machine.draining,
            parent_id=machine.parent_id,
            peers=machine.peers,
            workloads=len(self._ledger),
            workload_labels=dict(self._labels),
            preemptible=tuple(sorted(self._preemptible.items())),
        )
        self._coordinator.node_changed(machine.node_id, KnownNode(state=state, node_type="local"))
        self._exchange.set_self(state)
