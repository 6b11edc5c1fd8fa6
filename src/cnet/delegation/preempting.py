"""Room on this node that preemptible jobs leave for others of higher priority."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

from cnet.delegation.world import J, World
from cnet.model.lifecycle import Phase
from cnet.model.node import KnownNode
from cnet.model.workload import WorkloadSpec
from cnet.scheduler import victims

PREEMPTION_WAIT_S = 60.0
"""How long a job waits for the ends of those that make room for it."""


class Preempting(Generic[J]):
    """Ends jobs for others, and keeps the room they leave: else who made it would take it back."""

    def __init__(self, world: World[J], own_node: Callable[[], KnownNode | None]) -> None:
        self._world = world
        self._own_node = own_node
        self._ending: dict[str, None] = {}  # ids of jobs that end to make room
        self._claims: dict[str, float] = {}
        """jobs that others here end for → until when the room they leave is kept for them"""

    def make_room(self, job: J, spec: WorkloadSpec) -> bool:
        """Begin to end others for a job; False when that is no use."""
        own = self._own_node()
        if own is None or not may_preempt(spec):
            return False
        free = own.state.available
        for job_id in self._ending:
            ending = self._world.get(job_id)
            if ending is not None and ending.status.phase == Phase.STOPPING:
                free += ending.wanted
        chosen = victims(job.wanted, free, self._world.preemptible(), spec.priority)
        for job_id in chosen or ():
            victim = self._world.get(job_id)
            if victim is not None:
                self._ending[job_id] = None
                self._world.preempt(victim)
        if chosen is not None:
            self._claims[job.id] = self._world.now() + PREEMPTION_WAIT_S
        return chosen is not None

    def is_kept_from(self, job: J) -> bool:
        """Whether room that comes free here is for another one."""
        for job_id in self._claims:
            claiming = self._world.get(job_id)
            if claiming is None or claiming.spec.priority <= job.spec.priority:
                continue
            if self._is_claiming(job_id):
                return True
        return False

    def has_ended(self, job: J) -> bool:
        """Whether a job that is queued again was ended for another; true once."""
        if job.id not in self._ending:
            return False
        del self._ending[job.id]
        return True

    def changed(self, job: J) -> None:
        """One that has ended otherwise makes no room by being queued again."""
        status = job.status
        if status.phase == Phase.BACKOFF or (status.is_terminal and status.desired != "running"):
            self._ending.pop(job.id, None)

    def forgotten(self, job: J) -> None:
        """It is erased."""
        self._ending.pop(job.id, None)

    def expire(self) -> bool:
        """Give up room that nobody waits for any more; whether there was some."""
        settled = [job_id for job_id in self._claims if not self._is_claiming(job_id)]
        for job_id in settled:
            del self._claims[job_id]
        return bool(settled)

    def _is_claiming(self, job_id: str) -> bool:
        job = self._world.get(job_id)
        if job is None or job.status.phase != Phase.PENDING or job.status.host is not None:
            return False
        return self._world.now() < self._claims[job_id]


def may_preempt(spec: WorkloadSpec) -> bool:
    """Not where those that end might be the very company it asks for."""
    company = any(term.required and term.workload_labels for term in spec.affinity)
    return spec.priority > 0 and not company
