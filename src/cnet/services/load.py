"""What replicas have done, as the nodes they run on count it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class VersionLoad:
    """Of one version on one node, or on several together; sums since their agents started."""

    requests: int = 0
    errors: int = 0
    """answered with a status of 500 or more, or broken off"""
    in_flight: int = 0
    seconds: float = 0.0
    """of all requests together"""
    busy_s: float = 0.0
    """integral of `in_flight` over time"""
    buckets: tuple[int, ...] = ()
    """requests by latency"""


Measure = Callable[[str, Iterable[str]], Awaitable[Mapping[str, Mapping[str, VersionLoad]]]]
"""(service, nodes) → node → version → load; nodes that do not answer soon are left out."""


def total(loads: Iterable[VersionLoad]) -> VersionLoad:
    """Several together."""
    found = list(loads)
    sums = {
        each.name: sum(getattr(load, each.name) for load in found)
        for each in fields(VersionLoad)
        if each.name != "buckets"
    }
    buckets = tuple(map(sum, zip(*(load.buckets for load in found if load.buckets), strict=True)))
    return VersionLoad(**sums, buckets=buckets)


def growth(before: VersionLoad, after: VersionLoad) -> tuple[float, int]:
    """(busy seconds, requests) between two looks at one node; all of it after its restart."""
    if after.requests < before.requests or after.busy_s < before.busy_s:
        return after.busy_s, after.requests
    return after.busy_s - before.busy_s, after.requests - before.requests
