"""The only keeper of quota: reserve → commit → release, exact to the millicore, byte and device.

Through `reserve` the sum of allocations can never exceed the capacity. `adopt` is for the start of
an agent that finds its workloads running: what runs is counted even when the operator has lowered
the capacity in between; nothing more is then placed until it fits again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from cnet.errors import CapacityError, ConflictError
from cnet.model.resources import Resources


@dataclass(frozen=True, slots=True)
class Allocation:
    """Room held for one workload, with the very GPU devices."""

    workload_id: str
    resources: Resources
    gpu_devices: tuple[int, ...]
    committed: bool = False


class Ledger:
    """Who holds what of one node's capacity."""

    def __init__(self, capacity: Resources, *, gpu_devices: Iterable[int] | None = None) -> None:
        devices = tuple(range(capacity.gpu)) if gpu_devices is None else tuple(gpu_devices)
        if len(set(devices)) != capacity.gpu or len(devices) != capacity.gpu:
            raise ValueError(f"capacity says {capacity.gpu} GPUs, devices are {devices}")
        self._capacity = capacity
        self._devices = devices
        self._allocations: dict[str, Allocation] = {}
        self._allocated = Resources()
        self._stored = 0

    @property
    def capacity(self) -> Resources:
        """What the node has."""
        return self._capacity

    @property
    def allocated(self) -> Resources:
        """The sum of all allocations and of what is stored; above the capacity only after `adopt`
        and `set_stored`."""
        return self._allocated

    @property
    def available(self) -> Resources:
        """Capacity minus allocated, never below zero."""
        return self._capacity.minus_floor(self._allocated)

    @property
    def stored(self) -> int:
        """Bytes of data that no workload holds room for."""
        return self._stored

    def set_stored(self, size: int) -> None:
        """Count bytes that are stored on the node; they are there, whether or not they fit."""
        held = replace(self._allocated, storage=self._allocated.storage - self._stored + size)
        self._allocated, self._stored = held, size

    def allocation(self, workload_id: str) -> Allocation | None:
        """What a workload holds, if anything."""
        return self._allocations.get(workload_id)

    def __len__(self) -> int:
        return len(self._allocations)

    @property
    def devices(self) -> tuple[int, ...]:
        """All GPU devices of the node."""
        return self._devices

    def holders(self) -> dict[int, str]:
        """GPU device → id of the workload that holds it."""
        return {
            device: a.workload_id for a in self._allocations.values() for device in a.gpu_devices
        }

    def free_devices(self) -> tuple[int, ...]:
        """GPU devices that nobody holds, in the node's order."""
        held = self.holders()
        return tuple(device for device in self._devices if device not in held)

    def reserve(self, workload_id: str, resources: Resources) -> Allocation:
        """Hold room, all of it or none.

        Raises CapacityError with one reason per resource that is short, ConflictError when the
        workload holds room already.
        """
        self._require_absent(workload_id)
        available = self.available
        free = self.free_devices() if resources.gpu else ()
        if not resources.fits(available) or resources.gpu > len(free):
            reasons = resources.shortfalls(available) or [f"gpu: only {len(free)} free"]
            raise CapacityError("no room: " + ", ".join(reasons), reasons=reasons)
        return self._enter(Allocation(workload_id, resources, free[: resources.gpu]))

    def adopt(
        self, workload_id: str, resources: Resources, gpu_devices: tuple[int, ...]
    ) -> Allocation:
        """Count what is running already, committed; raises ConflictError when it is counted."""
        self._require_absent(workload_id)
        return self._enter(Allocation(workload_id, resources, gpu_devices, committed=True))

    def commit(self, workload_id: str) -> Allocation:
        """The reserved room is in use now; harmless when repeated. Raises ConflictError if none."""
        allocation = self._allocations.get(workload_id)
        if allocation is None:
            raise ConflictError(f"workload {workload_id} holds no room")
        allocation = replace(allocation, committed=True)
        self._allocations[workload_id] = allocation
        return allocation

    def release(self, workload_id: str) -> Allocation | None:
        """Give room back; None when nothing was held, so that a second release changes nothing."""
        allocation = self._allocations.pop(workload_id, None)
        if allocation is not None:
            self._allocated -= allocation.resources
        return allocation

    def _require_absent(self, workload_id: str) -> None:
        if workload_id in self._allocations:
            raise ConflictError(f"workload {workload_id} holds room already")

    def _enter(self, allocation: Allocation) -> Allocation:
        self._allocations[allocation.workload_id] = allocation
        self._allocated += allocation.resources
        return allocation
