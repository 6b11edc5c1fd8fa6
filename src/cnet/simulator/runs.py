"""Runs of jobs on a simulated machine, from the room a job has to its end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from cnet.delegation import Coordinator
from cnet.model.lifecycle import Event, Phase
from cnet.register import Ledger
from cnet.simulator.disk import Disk
from cnet.simulator.job import Job
from cnet.simulator.machine import Machine, Run
from cnet.simulator.state import State
from cnet.simulator.timeline import Timeline


class After(Protocol):
    """Does something after some seconds, if the agent still lives then."""

    def __call__(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        """Arrange it."""
        ...


class Runs:
    """Starts, watches and concludes them, as the driver of a real agent does."""

    def __init__(
        self,
        machine: Machine,
        ledger: Ledger,
        coordinator: Coordinator[Job],
        state: State,
        disk: Disk,
        timeline: Timeline,
        after: After,
    ) -> None:
        self._machine = machine
        self._ledger = ledger
        self._coordinator = coordinator
        self._state = state
        self._disk = disk
        self._timeline = timeline
        self._after = after

    def drive(self, job: Job) -> None:
        """Run what has room, once that is on the disk."""
        job.driven = True
        self._disk.then(partial(self._one_run, job, job.status.attempt, found=False))

    def take_up(self, job: Job) -> None:
        """After a start of the agent: go on where the last one ended."""
        status = job.status
        job.driven = True
        if status.phase == Phase.STOPPING:
            job.stop_asked = True
        if status.phase == Phase.BACKOFF:
            self._after(0, self._next_attempt, job, status.attempt)
        else:
            self._after(0, partial(self._one_run, job, status.attempt, found=True))

    def stop(self, job: Job) -> None:
        """End the present run, or the one that is being started."""
        job.stop_asked = True
        if job.run is not None:
            self._machine.stop(job.run)

    def leased(self, job: Job, until: float) -> None:
        """Start it, or let its run go on."""
        if job.run is not None:
            self._machine.renew(job.run, until)
        elif job.status.phase == Phase.STARTING and not job.driven:
            self.drive(job)

    def requeue(self, job: Job) -> None:
        """It is pending again."""
        job.stop_asked = False
        self._coordinator.place(job)

    def _one_run(self, job: Job, attempt: int, *, found: bool) -> None:
        if job.status.attempt != attempt or not job.status.holds_room:
            return
        run = self._machine.attach(job.id, attempt) if found else None
        if run is not None:
            self._started(job, run)
        elif job.status.phase == Phase.STOPPING:
            self._conclude(job, well=False, reason=None, final=True)
        elif job.status.phase == Phase.RUNNING:
            self._conclude(job, well=False, reason="node_rebooted")
        else:
            self._start_run(job, attempt)

    def _start_run(self, job: Job, attempt: int) -> None:
        until = None
        if job.status.owner is not None and job.spec.on_node_loss == "reschedule":
            until = self._coordinator.host.lease(job)
            if until is None:
                self._conclude(job, well=False, reason="lease_expired", final=True)
                return
        run = self._machine.start(job.id, job.spec, attempt, lease_until=until)
        self._after(self._timeline.between(0.001, 0.1), self._started, job, run)

    def _started(self, job: Job, run: Run) -> None:
        job.run = run
        if job.spec.on_node_loss == "reschedule":
            until = self._coordinator.host.lease(job)
            if until is not None:
                self._machine.renew(run, until)
        self._ledger.commit(job.id)
        if job.status.phase == Phase.STARTING:
            self._state.apply(job, Event.READY, reason=None, started_at=self._machine.now())
        if job.stop_asked:
            self._machine.stop(run)
        if not run.alive:
            self.ended(run)

    def ended(self, run: Run) -> None:
        """The machine says so."""
        job = self._state.jobs.get(run.job_id)
        if job is not None and job.run is run:
            job.run = None
            well = run.reason is None and run.exit_code == 0
            final = run.reason == "lease_expired"
            self._conclude(job, well=well, reason=run.reason, exit_code=run.exit_code, final=final)

    def _conclude(
        self,
        job: Job,
        *,
        well: bool,
        reason: str | None,
        exit_code: int | None = None,
        final: bool = False,
    ) -> None:
        """What follows from the end of a run."""
        status = job.status
        now = self._machine.now()
        ended = {"reason": reason, "exit_code": exit_code, "ended_at": now, "pid": None}
        if status.phase == Phase.STOPPING:
            self._gone(job, **{**ended, "reason": "stopped_by_user"})
            return
        restarts = job.restart.policy == "on_failure" and not well and not final
        if restarts and status.restarts < job.restart.attempts:
            self._state.apply(job, Event.EXITED_AGAIN, restarts=status.restarts + 1, **ended)
            self._after(job.restart.backoff_s, self._next_attempt, job, status.attempt)
            return
        job.driven = False
        self._state.apply(job, Event.EXITED_WELL if well else Event.EXITED_BADLY, **ended)
        if reason == "lease_expired" and job.status.desired == "running":
            self._coordinator.host.give_back(job, "lease_expired", "its lease was over")
        else:
            self._state.note_end(job)

    def _gone(self, job: Job, **changes: Any) -> None:
        again = job.status.desired == "running"
        job.driven = False
        self._state.apply(job, Event.GONE_AGAIN if again else Event.GONE, **changes)
        if again:
            self.requeue(job)
        else:
            self._state.note_end(job)

    def _next_attempt(self, job: Job, attempt: int) -> None:
        if job.status.phase == Phase.BACKOFF and job.status.attempt == attempt:
            self._state.apply(job, Event.BACKOFF_OVER, attempt=attempt + 1, reason="starting")
            self.drive(job)
