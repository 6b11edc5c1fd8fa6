"""What this agent has done for services: where a replica is, and where a request comes in."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from cnet.services.load import VersionLoad

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency histogram; one more bucket holds what took longer."""
MAX_VERSIONS = 10_000
SERVER_ERROR = 500


@dataclass(slots=True)
class Tally:
    """Requests that replicas of one version on this node have answered, or not."""

    service_id: str = ""
    requests: int = 0
    errors: int = 0
    """answered with a status of 500 or more, or broken off"""
    in_flight: int = 0
    seconds: float = 0.0
    """of all requests together"""
    busy_s: float = 0.0
    """integral of `in_flight` over time: its growth per second is the mean of `in_flight`"""
    changed_at: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))

    def busy(self, now: float) -> float:
        """`busy_s` up to now."""
        return self.busy_s + self.in_flight * (now - self.changed_at)

    def step(self, by: int, now: float) -> None:
        """One request more under way, or one less."""
        self.busy_s = self.busy(now)
        self.changed_at = now
        self.in_flight += by


@dataclass(slots=True)
class Outcome:
    """Of one request; `status` 0 until there is an answer."""

    status: int = 0


class Counting:
    """Kept for the life of the agent."""

    def __init__(self) -> None:
        self.served: dict[tuple[str, str], Tally] = {}
        """by service and version: what ended at replicas on this node"""
        self.repeated: Counter[str] = Counter()
        """by service: requests that were sent to another replica after one broke off"""
        self.unanswered: Counter[str] = Counter()
        """by service: requests that came in here and got no answer of a replica"""
        self.held: Counter[str] = Counter()
        """by service: requests that wait here for a replica now"""

    def loads(self, service: str, now: float) -> dict[str, VersionLoad]:
        """What replicas of a service on this node have done, by version."""
        return {
            version: VersionLoad(
                requests=tally.requests,
                errors=tally.errors,
                in_flight=tally.in_flight,
                seconds=tally.seconds,
                busy_s=tally.busy(now),
                buckets=tuple(tally.buckets),
            )
            for (name, version), tally in self.served.items()
            if name == service
        }

    @contextmanager
    def one(self, service: str, version: str, service_id: str) -> Iterator[Outcome]:
        """One request at a replica here, while the block lasts.

        A service of another id under the same name begins anew.
        """
        tally = self.served.get((service, version))
        if tally is None or tally.service_id != service_id:
            tally = self._begin(service, version, service_id)
        outcome = Outcome()
        began = anyio.current_time()
        tally.step(1, began)
        try:
            yield outcome
        finally:
            now = anyio.current_time()
            tally.step(-1, now)
            tally.requests += 1
            tally.errors += not 0 < outcome.status < SERVER_ERROR
            tally.seconds += now - began
            tally.buckets[bisect_left(BUCKETS_S, now - began)] += 1

    def _begin(self, service: str, version: str, service_id: str) -> Tally:
        """What a deleted service of that name has done is forgotten, whatever its versions."""
        for key, tally in list(self.served.items()):
            if key[0] == service and tally.service_id != service_id:
                del self.served[key]
        if len(self.served) >= MAX_VERSIONS:
            self.served.clear()
        return self.served.setdefault((service, version), Tally(service_id))
