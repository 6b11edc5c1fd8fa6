"""Which workload holds which TCP port of this node. Whether a port is free of others, the system
must be asked; this book only knows our own."""

from __future__ import annotations

from collections.abc import Collection

from cnet.errors import PortTakenError


class PortBook:
    """Ports held by workloads. TCP and UDP share their numbers here."""

    def __init__(self) -> None:
        self._holders: dict[int, str] = {}

    def holder(self, port: int) -> str | None:
        """The id of the workload that holds `port`."""
        return self._holders.get(port)

    def claim(self, port: int, workload_id: str) -> None:
        """Hold `port`; harmless when held by the same workload. Raises PortTakenError."""
        holder = self._holders.setdefault(port, workload_id)
        if holder != workload_id:
            raise PortTakenError(f"service_port: {port} is held by workload {holder}")

    def held(self, workload_id: str) -> set[int]:
        """Those of one workload."""
        return {port for port, holder in self._holders.items() if holder == workload_id}

    def keep(self, workload_id: str, ports: Collection[int]) -> None:
        """Give back what the workload holds beside these."""
        for port in self.held(workload_id) - set(ports):
            del self._holders[port]

    def release(self, workload_id: str) -> None:
        """Give back what the workload holds; harmless when that is nothing."""
        self.keep(workload_id, ())

    def __len__(self) -> int:
        return len(self._holders)
