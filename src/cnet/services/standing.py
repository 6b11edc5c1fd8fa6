"""How a service stands, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnet.services.deciding import Memory, Replica
from cnet.services.record import ServiceRecord, Version


@dataclass(frozen=True, slots=True)
class Standing:
    """`status` is one of ready, idle, starting, updating, degraded, failed, deleting."""

    status: str
    reason: str | None = None
    detail: str | None = None

    @property
    def settled(self) -> bool:
        """Nothing more is to be expected soon."""
        if self.status == "starting":
            return self.reason == "no_capacity"
        return self.status != "updating" or self.reason == "held"


def standing(service: ServiceRecord, replicas: Sequence[Replica], memory: Memory) -> Standing:
    """From the record and what is seen of the replicas."""
    if service.deleted:
        return Standing("deleting")
    if service.rollout is not None:
        reason = "held" if service.rollout.held else "rollout"
        detail = service.rollout.held or f"to version {service.rollout.target}"
        return Standing("updating", reason, detail)
    serving = service.serving()
    wanted = sum(service.wanted(version) for version in serving)
    ready = sum(_ready(version, replicas) for version in serving)
    gave_up = max(service.versions, key=lambda version: version.revision)
    if ready >= wanted:
        if gave_up.failure:
            return Standing("ready", "rolled_back", gave_up.failure)
        return Standing("ready" if wanted else "idle")
    failures = [
        memory.failures[version.revision].why
        for version in serving
        if version.revision in memory.failures
    ]
    missing = f"{ready} of {wanted} replicas are ready"
    if failures:
        return Standing("degraded" if ready else "failed", "replica_failed", failures[-1])
    waiting = [one.why for one in replicas if one.state == "waiting"]
    if waiting:
        return Standing(
            "degraded" if ready else "starting", "no_capacity", f"{missing}; {waiting[0]}"
        )
    return Standing("starting", None, missing)


def _ready(version: Version, replicas: Sequence[Replica]) -> int:
    return sum(one.state == "ready" and one.revision == version.revision for one in replicas)
