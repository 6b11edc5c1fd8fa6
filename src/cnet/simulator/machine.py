"""A machine as far as an agent cannot bend it: its clock, its disk, and processes that run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnet.model.resources import Resources
from cnet.model.workload import Strategy, WorkloadSpec, WorkloadStatus
from cnet.simulator.timeline import Timeline

if TYPE_CHECKING:
    from cnet.simulator.agent import Agent
    from cnet.simulator.witness import Witness

KILL_S = 0.2
"""Most seconds between the decision to end a process and its end, beyond its grace."""


@dataclass(slots=True, eq=False)
class Run:
    """One process of a workload."""

    job_id: str
    attempt: int
    room: Resources
    exit_code: int
    grace_s: float
    lease_until: float | None
    """by this machine's clock; None without a lease"""
    alive: bool = True
    reason: str | None = None
    """why it ended, where that was not by itself"""
    ending: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A workload as it stands on the disk."""

    spec: WorkloadSpec
    status: WorkloadStatus


@dataclass(frozen=True, slots=True)
class Doom:
    """Something that happens while a commit of a certain kind is under way."""

    strikes: Callable[[tuple[str, Record | None]], bool]
    strike: Callable[[], None]


class Machine:
    """Outlives its agent: what runs here goes on when the agent is killed or frozen."""

    def __init__(
        self,
        node_id: str,
        timeline: Timeline,
        witness: Witness,
        *,
        capacity: Resources,
        kinds: tuple[str, ...],
        labels: dict[str, str],
        strategy: Strategy = "default",
        lease_s: float = 15.0,
        shares: bool = False,
        escalates: bool = False,
    ) -> None:
        self.node_id = node_id
        self.capacity = capacity
        self.kinds = kinds
        self.labels = labels
        self.strategy: Strategy = strategy
        self.lease_s = lease_s
        self.shares = shares
        self.escalates = escalates
        self.parent_id: str | None = None
        self.peers: tuple[str, ...] = ()
        self.agent: Agent | None = None
        self.incarnation = 0
        self.draining = False
        self.doom: Doom | None = None
        self.disk: dict[str, Record] = {}
        self.used = Resources()
        """what runs, whatever any agent thinks"""
        self._timeline = timeline
        self._witness = witness
        self._runs: dict[tuple[str, int], Run] = {}
        self._rate = 1 + timeline.between(-0.004, 0.004)
        self._boot()

    def _boot(self) -> None:
        self._booted = self._timeline.now - self._timeline.between(5, 500)

    def now(self) -> float:
        """Seconds since the machine was started; no two machines' clocks run alike."""
        return (self._timeline.now - self._booted) * self._rate

    def start(
        self,
        job_id: str,
        spec: WorkloadSpec,
        attempt: int,
        *,
        lease_until: float | None,
    ) -> Run:
        """Start a process. What it does is written in the spec's config."""
        room = spec.requirements.to_resources()
        run = Run(job_id, attempt, room, spec.config["exit_code"], spec.stop_grace_s, lease_until)
        self._witness.starts(self, run)
        self._runs[job_id, attempt] = run
        self.used += room
        if lease_until is not None:
            self._watch_lease(run)
        lasts_s = spec.config["lasts_s"]
        if lasts_s is not None:
            self._timeline.after(lasts_s, self._end, run, None)
        return run

    def attach(self, job_id: str, attempt: int) -> Run | None:
        """The run of an attempt, over or not; None when it never was, or was lost by a reboot."""
        return self._runs.get((job_id, attempt))

    def stop(self, run: Run, reason: str | None = None) -> None:
        """Ask it to end: within its grace, then by force."""
        if run.alive and not run.ending:
            run.ending = True
            polite = self._timeline.happens(0.5)
            delay_s = self._timeline.between(0, run.grace_s) if polite else run.grace_s
            self._timeline.after(
                delay_s + self._timeline.between(0, KILL_S), self._end, run, reason
            )

    def renew(self, run: Run, until: float) -> None:
        """Let it go on until then; too late once its end was decided."""
        if run.alive and run.lease_until is not None:
            run.lease_until = max(run.lease_until, until)

    def remove(self, job_id: str) -> None:
        """Forget all runs of a workload."""
        for key in [key for key in self._runs if key[0] == job_id]:
            self._witness.removes(self, self._runs.pop(key))

    def sweep(self) -> None:
        """Forget the runs of workloads that the disk does not know."""
        for job_id in dict.fromkeys(job_id for job_id, _ in self._runs):
            if job_id not in self.disk:
                self.remove(job_id)

    def reboot(self) -> None:
        """Everything that runs is gone without a trace; the clock starts anew."""
        for run in list(self._runs.values()):
            if run.alive:
                self._end(run, "node_rebooted")
                del self._runs[run.job_id, run.attempt]
        self._boot()

    def _watch_lease(self, run: Run) -> None:
        if not run.alive or run.lease_until is None:
            return
        left_s = (run.lease_until - self.now()) / self._rate
        if left_s > 1e-6:
            self._timeline.after(left_s, self._watch_lease, run)
        elif run.ending:
            # Already asked to end, for less: whatever its grace, the lease bounds it as well.
            self._timeline.after(run.grace_s, self._end, run, "lease_expired")
        else:
            self.stop(run, "lease_expired")

    def _end(self, run: Run, reason: str | None) -> None:
        if not run.alive:
            return
        run.alive = False
        run.reason = reason
        self.used -= run.room
        self._witness.ends(self, run)
        if self.agent is not None:
            self.agent.after(self._timeline.between(0.001, 0.05), self.agent.run_ended, run)
