"""Where replicas of a service are, and which of them gets a request."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import anyio
from starlette.types import ASGIApp


class Replica(Protocol):
    """One workload that is ready to serve."""

    @property
    def workload_id(self) -> str:
        """Its id, the same on every node."""
        ...

    @property
    def node_id(self) -> str:
        """Where it runs."""
        ...

    @property
    def endpoint(self) -> str | None:
        """`http://host:port` on this node; None when it runs on another."""
        ...

    @property
    def relayed(self) -> bool:
        """It runs on a node that is not known here; `node_id` is one that knows it."""
        ...


@dataclass(frozen=True, slots=True)
class Share:
    """What one version of a service has to offer."""

    version: str
    weight: int | None
    """None: shares with the others by what each has ready"""
    replicas: Sequence[Replica]
    """those that are ready"""


@dataclass(frozen=True, slots=True)
class Routed:
    """A service as its owner wants its requests shared."""

    name: str
    owner: str
    retry: bool
    hold_s: float
    shares: Sequence[Share]


class Directory(Protocol):
    """What this agent knows of services; asked once for every request, so it must be quick."""

    def routed(self, name: str) -> Routed | None:
        """A service that somebody owns; None where workloads only happen to have that name."""
        ...

    def all_routed(self) -> Sequence[Routed]:
        """Every such service, by name."""
        ...

    def replicas(self, name: str) -> Sequence[Replica]:
        """Those that are ready, by the name of a service or by the id of one workload."""
        ...

    def replica_of(self, workload_id: str) -> tuple[str, str, str] | None:
        """Service, version and id of the service of a workload here; None: it is no replica."""
        ...

    async def change(self) -> None:
        """Return when something that was told may be different now."""
        ...

    def absence(self, name: str) -> str | None:
        """Why a service that is known has no ready replica, a sentence; None: not known at all."""
        ...

    def names(self) -> Collection[str]:
        """Names of all services that are known."""
        ...


class Carrier(Protocol):
    """Links to other agents."""

    def app_for(self, node_id: str) -> ASGIApp:
        """An application that carries a request to that node's own, streaming both ways.

        Raises UnreachableError when there is no way to the node now; so does the application when
        the way breaks before the answer has begun. An answer that breaks off later ends without
        its last `http.response.body`.
        """
        ...


class Outstanding:
    """Requests under way per workload, as far as this agent carries them."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._idle: dict[str, anyio.Event] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """Workload id → requests under way; those with none are absent."""
        return MappingProxyType(self._counts)

    def least(self, replicas: Sequence[Replica]) -> Replica:
        """One of those with the fewest, at random; there must be at least one replica."""
        if len(replicas) == 1:
            return replicas[0]
        counts = [self._counts.get(replica.workload_id, 0) for replica in replicas]
        fewest = min(counts)
        ties = [one for one, count in zip(replicas, counts, strict=True) if count == fewest]
        return random.choice(ties)  # noqa: S311  nothing secret about it

    @contextmanager
    def one(self, workload_id: str) -> Iterator[None]:
        """Count one request while the block lasts."""
        self._counts[workload_id] = self._counts.get(workload_id, 0) + 1
        try:
            yield
        finally:
            left = self._counts[workload_id] - 1
            if left:
                self._counts[workload_id] = left
            else:
                del self._counts[workload_id]
                if workload_id in self._idle:
                    self._idle.pop(workload_id).set()

    async def until_idle(self, workload_id: str) -> None:
        """Return when no request to a workload is under way."""
        while workload_id in self._counts:
            await self._idle.setdefault(workload_id, anyio.Event()).wait()
