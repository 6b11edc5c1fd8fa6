"""One service in memory: its record, and what is seen of its replicas."""

from __future__ import annotations

import math
from collections.abc import Iterable

import anyio

from cnet.manager import Workload
from cnet.model.lifecycle import Phase
from cnet.model.route import ServiceRoute
from cnet.services.deciding import Memory, Replica, State
from cnet.services.record import ServiceRecord, number_of
from cnet.services.standing import Standing, standing

_CUT_OFF = frozenset({"node_unreachable", "engine_unreachable"})


class Service:
    """One service in the hands of its owner."""

    def __init__(self, record: ServiceRecord, *, is_new: bool = False) -> None:
        self.record = record
        self.is_new = is_new
        """not yet on the disk"""
        self.memory = Memory()
        self.decided = False
        """what follows from the record, as it is now, has been begun"""
        self.lock = anyio.Lock()
        """held while a change of the record is written"""
        self.route: ServiceRoute | None = None
        self.replicas: tuple[Replica, ...] = ()
        self.standing = Standing("starting")
        self.gone = anyio.Event()
        self.waited_for_at = -math.inf
        """monotonic seconds; when a request last said that it waits for a replica"""
        self.nodes: set[str] = set()
        """where replicas are or were, as far as this agent has seen"""
        self._news = anyio.Event()

    def look(self, replicas: Iterable[Replica]) -> None:
        """Take in how its replicas are, and wake who waits."""
        self.replicas = tuple(replicas)
        self.standing = standing(self.record, self.replicas, self.memory)
        news, self._news = self._news, anyio.Event()
        news.set()

    async def until_settled(self) -> None:
        """Return when nothing more is to be expected soon."""
        while not self._settled and not self.gone.is_set():
            await self._news.wait()

    @property
    def _settled(self) -> bool:
        leaving = any(
            (one.state == "ending" or one.workload_id in self.memory.draining) and not one.cut_off
            for one in self.replicas
        )
        return self.decided and self.standing.settled and not leaving

    async def until_gone_or_cut_off(self) -> None:
        """Return when all is gone, or what is left is on nodes that cannot be reached now."""
        while not self.gone.is_set() and not self.cut_off:
            await self._news.wait()

    @property
    def cut_off(self) -> bool:
        """Whether nothing is left but replicas that cannot be reached."""
        return bool(self.replicas) and all(one.cut_off for one in self.replicas)


def seen(service: ServiceRecord, workload: Workload) -> Replica | None:
    """A workload as a replica of the service; None when it is none."""
    if workload.status.owner is not None:
        return None
    found = number_of(service, workload.spec)
    if found is None:
        return None
    status = workload.status
    failed = status.phase == Phase.FAILED or status.phase == Phase.COMPLETED
    return Replica(
        workload_id=workload.id,
        revision=found[0],
        number=found[1],
        state=_state(workload),
        failed=failed and status.desired == "running",
        cut_off=status.reason in _CUT_OFF,
        why=f"{status.reason or status.phase}: {status.detail or 'no more is known'}",
    )


def _state(workload: Workload) -> State:
    status = workload.status
    if status.desired == "deleted" or workload.being_forgotten:
        return "ending"
    if status.is_terminal:
        return "ended"
    if status.desired == "stopped":
        return "ending"
    if status.reason in _CUT_OFF:
        return "unreachable"
    if status.phase == Phase.RUNNING:
        return "starting" if status.endpoint is None else "ready"
    if status.phase == Phase.PENDING and status.reason == "no_capacity":
        return "waiting"
    return "starting"
