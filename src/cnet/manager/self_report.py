"""Tells the own scheduler and other agents how this node stands, several changes at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson

from cnet.delegation import Coordinator
from cnet.manager.journal import Journal
from cnet.manager.own_node import OwnNode
from cnet.manager.placing import Network
from cnet.manager.workloads import Workload
from cnet.model.node import KnownNode
from cnet.model.workload import WorkloadStatus


class SelfReport:
    """Keeps the own node true to what happens here, and what users set of it durable."""

    def __init__(
        self,
        own_node: OwnNode,
        coordinator: Coordinator[Workload],
        network: Network,
        journal: Journal,
        soon: Callable[[Callable[[], None]], None],
    ) -> None:
        """`soon` calls what it is given in the next turn of the event loop."""
        self._own_node = own_node
        self._coordinator = coordinator
        self._network = network
        self._journal = journal
        self._soon = soon
        self._due = False
        self._labels_set: dict[str, str | None] = {}

    def prepare(self, labels: Mapping[str, str]) -> None:
        """Take over the configured labels, and what was set at run time before the last end."""
        self._labels_set = orjson.loads(self._journal.meta("labels") or "{}")
        labels_now: dict[str, str | None] = {**labels, **self._labels_set}
        self._own_node.labels = {k: v for k, v in labels_now.items() if v is not None}
        self._own_node.draining = self._journal.meta("draining") == "yes"

    async def drain(self, draining: bool) -> None:
        """Take no new work (or take some again); durable on return."""
        self._own_node.draining = draining
        self.changed()
        await self._journal.put_meta("draining", "yes" if draining else "no")

    async def relabel(self, changes: Mapping[str, str | None]) -> None:
        """Set labels of this node, or with None remove them; durable on return."""
        labels = {**self._own_node.labels, **changes}
        self._own_node.labels = {key: value for key, value in labels.items() if value is not None}
        self.changed()
        self._labels_set |= changes
        await self._journal.put_meta("labels", orjson.dumps(self._labels_set).decode())

    def count(self, workload: Workload, before: WorkloadStatus | None) -> None:
        """A workload's status was `before`; None: it is new here."""
        self._own_node.count(workload, before)
        status = workload.status
        if before is None or (before.phase, before.endpoint) != (status.phase, status.endpoint):
            self.room_changed()

    def discount(self, workload: Workload) -> None:
        """A new workload was not accepted after all."""
        self._own_node.discount(workload)
        self.room_changed()

    def room_changed(self) -> None:
        """More room, or less: the scheduler is to look again."""
        self.changed()
        self._coordinator.look_again()

    def changed(self) -> None:
        """Something about this node is new: tell of it in a moment, together with what follows."""
        if not self._due:
            self._due = True
            self._soon(self.tell)

    def tell(self) -> None:
        """Tell of this node as it is now, if there is something new."""
        if not self._due:
            return
        self._due = False
        state = self._own_node.state()
        self._coordinator.node_changed(
            self._own_node.node_id, KnownNode(state=state, node_type="local", reachable=True)
        )
        self._network.set_self(state)
