"""Looks at the load of services that scale by themselves, and sets their numbers of replicas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio
import structlog

from cnet.errors import CnetError
from cnet.services.autoscaling import Damping, Load, follow
from cnet.services.changes import by_load
from cnet.services.load import Measure, VersionLoad, growth
from cnet.services.record import Autoscale, ServiceRecord
from cnet.services.service import Service
from cnet.services.services import WAITED_S, Services

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 2.0

Seen = Mapping[str, Mapping[str, VersionLoad]]


@dataclass(slots=True)
class _Watched:
    """One service between two looks."""

    at: float
    seen: Seen
    damping: dict[str, Damping] = field(default_factory=dict)
    """by version"""


class Scaling:
    """Use: `await group.start(scaling.run)` beside the services."""

    def __init__(self, services: Services, measure: Measure) -> None:
        self._services = services
        self._measure = measure
        self._watched: dict[str, _Watched] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            scaled = [each for each in self._services.all() if each.record.autoscale is not None]
            for name in self._watched.keys() - {each.record.name for each in scaled}:
                del self._watched[name]
            async with anyio.create_task_group() as group:
                for service in scaled:
                    group.start_soon(self._look, service)
            await anyio.sleep(LOOK_EVERY_S)

    async def _look(self, service: Service) -> None:
        name = service.record.name
        try:
            seen = await self._measure(name, self._services.nodes_of(service))
            now = anyio.current_time()
            before = self._watched.setdefault(name, _Watched(now, seen))
            if now > before.at:
                await self._follow(service, before, seen, now)
        except CnetError as error:
            log.warning("scaling_waits", service=name, why=error.message)

    async def _follow(self, service: Service, before: _Watched, seen: Seen, now: float) -> None:
        waits = now - service.waited_for_at < WAITED_S
        counts: dict[str, int] = {}
        record = service.record
        policy = record.autoscale
        if policy is None or record.deleted or record.rollout is not None:
            return
        for version in record.serving():
            load = _load(version.name, before.seen, seen, now - before.at, waits=waits)
            current = record.wanted(version)
            damping = before.damping.get(version.name) or Damping.starting(current, now)
            count, before.damping[version.name] = follow(policy, current, load, damping, now=now)
            if count != current:
                counts[version.name] = count
                log.info(
                    "scaled", service=record.name, version=version.name, load=load, replicas=count
                )
        before.at, before.seen = now, seen
        if counts:
            await self._services.change(record.name, lambda record: _set(record, policy, counts))


def _set(record: ServiceRecord, policy: Autoscale, counts: Mapping[str, int]) -> ServiceRecord:
    if record.autoscale != policy or record.deleted:
        return record
    for version in record.serving():
        if version.name in counts:
            record = by_load(record, version.name, counts[version.name])
    return record


def _load(version: str, before: Seen, after: Seen, seconds: float, *, waits: bool) -> Load:
    busy_s, requests, in_flight = 0.0, 0, 0
    for node_id, versions in after.items():
        now = versions.get(version, VersionLoad())
        grown = growth(before.get(node_id, {}).get(version, VersionLoad()), now)
        if node_id in before:  # else there is no time over which it has grown
            busy_s += grown[0]
            requests += grown[1]
        in_flight += now.in_flight
    return Load(under_way=busy_s / seconds, any_requests=bool(requests or in_flight or waits))
