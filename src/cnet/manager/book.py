"""The workloads of this agent, by id."""

from __future__ import annotations

from collections.abc import Iterable

from cnet.errors import NotFoundError
from cnet.manager.workloads import Workload


class Book:
    """Own workloads and hosted ones; also those whose acceptance is not durable yet."""

    def __init__(self) -> None:
        self._by_id: dict[str, Workload] = {}

    def add(self, workload: Workload) -> None:
        """It is this agent's affair from now on."""
        self._by_id[workload.id] = workload

    def drop(self, workload: Workload) -> None:
        """It is not any more; harmless when it never was."""
        self._by_id.pop(workload.id, None)

    def find(self, workload_id: str) -> Workload | None:
        """The one of that id, accepted or not."""
        return self._by_id.get(workload_id)

    def get(self, workload_id: str) -> Workload:
        """The accepted one of that id. Raises NotFoundError."""
        workload = self._by_id.get(workload_id)
        if workload is None or not workload.accepted:
            raise NotFoundError(f"no workload {workload_id}")
        return workload

    def accepted(self) -> Iterable[Workload]:
        """All that were accepted, oldest first."""
        return (workload for workload in self._by_id.values() if workload.accepted)
