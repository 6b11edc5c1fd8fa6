"""Stored data and workloads share the storage of the node: what one has the other does not get.

The bytes of the store count as allocated in the ledger; what the ledger could still give is the
store's quota. Gateways and fetches store as well, in processes of their own: the quota holds for
all of them at once, and what they have stored is looked up before storage is promised to a
workload, and every second besides.
"""

from __future__ import annotations

import anyio
import structlog

from cnet.errors import CnetError
from cnet.manager import Manager
from cnet.model.resources import Resources
from cnet.register import Ledger
from cnet.register.ledger import Allocation
from cnet.storage import queries
from cnet.storage.store import NodeStore

log = structlog.get_logger(__name__)

LOOK_S = 1.0


class SharedLedger(Ledger):
    """A ledger that asks the store how much it holds before it promises storage."""

    def __init__(self, capacity: Resources, store: NodeStore) -> None:
        super().__init__(capacity)
        self._store = store
        self.promised = anyio.Event()
        """set, and replaced, when what is left for the store has changed"""
        self.look()

    def look(self) -> None:
        """Take in what the store holds now."""
        self.set_stored(self._store.catalog.look(queries.used_bytes))

    @property
    def left_for_store(self) -> int:
        """Bytes that no workload holds."""
        held = self.allocated.storage - self.stored
        return max(0, self.capacity.storage - held)

    def reserve(self, workload_id: str, resources: Resources) -> Allocation:
        """See Ledger."""
        if resources.storage:
            self.look()
        allocation = super().reserve(workload_id, resources)
        self._tell(resources)
        return allocation

    def adopt(
        self, workload_id: str, resources: Resources, gpu_devices: tuple[int, ...]
    ) -> Allocation:
        """See Ledger."""
        allocation = super().adopt(workload_id, resources, gpu_devices)
        self._tell(resources)
        return allocation

    def release(self, workload_id: str) -> Allocation | None:
        """See Ledger."""
        allocation = super().release(workload_id)
        if allocation is not None:
            self._tell(allocation.resources)
        return allocation

    def _tell(self, resources: Resources) -> None:
        if resources.storage:
            promised, self.promised = self.promised, anyio.Event()
            promised.set()


class Room:
    """Keeps ledger and quota true to each other."""

    def __init__(self, store: NodeStore, ledger: SharedLedger, manager: Manager) -> None:
        self._store = store
        self._ledger = ledger
        self._manager = manager
        self._told = ledger.stored

    def look(self) -> None:
        """Take in what the store holds now."""
        self._ledger.look()
        if self._ledger.stored != self._told:
            self._told = self._ledger.stored
            self._manager.room_changed()

    async def run(self) -> None:
        """Until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._keep_quota)
            while True:
                self.look()
                await anyio.sleep(LOOK_S)

    async def _keep_quota(self) -> None:
        while True:
            promised = self._ledger.promised
            try:
                await self._store.set_quota(self._ledger.left_for_store)
            except CnetError as error:
                log.warning("quota_not_set", why=error.message)
                await anyio.sleep(LOOK_S)
                continue
            await promised.wait()
