"""What users of a simulated agent want done with jobs: stop, restart, delete."""

from __future__ import annotations

from functools import partial
from typing import Any

from cnet.delegation import Coordinator
from cnet.model.lifecycle import Event, Phase
from cnet.simulator.disk import Disk
from cnet.simulator.job import Job
from cnet.simulator.runs import Runs
from cnet.simulator.state import State
from cnet.simulator.witness import Witness


class Wishes:
    """Steps jobs as they are wished; what the state does not allow is void."""

    def __init__(
        self,
        coordinator: Coordinator[Job],
        state: State,
        runs: Runs,
        disk: Disk,
        witness: Witness,
    ) -> None:
        self._coordinator = coordinator
        self._state = state
        self._runs = runs
        self._disk = disk
        self._witness = witness

    def ask(self, job: Job, desired: str) -> None:
        """A user's, for an own job."""
        if job.status.owner is not None or job.forgetting:
            return
        status = job.status
        if status.desired == "deleted" or (desired == "stopped" and status.is_terminal):
            return
        if status.host is not None and status.desired == desired != "running":
            return
        asked = self._witness.asks(job.id, desired)
        if status.host is not None:
            self._ask_elsewhere(job, desired)
        else:
            self._ask_here(job, desired)
        self._disk.then(partial(self._witness.answered, job.id, asked))

    def ask_hosted(self, job: Job, desired: str) -> None:
        """An owner's, for a job that runs here."""
        status = job.status
        void = job.forgetting or status.desired == "deleted"
        if not void and not (desired == "stopped" and status.is_terminal):
            self._ask_here(job, desired)

    def _ask_elsewhere(self, job: Job, desired: str) -> None:
        changes: dict[str, Any] = {}
        if not job.status.is_terminal:
            changes = {"phase": Phase.STOPPING, "reason": "stopping", "detail": None}
        elif desired == "running":
            changes = {"phase": Phase.PENDING, "reason": "restarting", "detail": None}
        generation = job.status.generation + 1
        self._state.apply(job, None, desired=desired, generation=generation, **changes)
        self._disk.then(partial(self._coordinator.tell, job))

    def _ask_here(self, job: Job, desired: str) -> None:
        if desired == "running":
            self._restart(job)
            return
        self.end(job, desired)
        if desired == "deleted" and job.status.is_terminal:
            self._state.forget(job)

    def _restart(self, job: Job) -> None:
        phase = job.status.phase
        if phase == Phase.PENDING:
            return
        if phase == Phase.BACKOFF:
            self.end(job, "running")
        if job.status.is_terminal:
            self._state.apply(job, Event.RESTART_ASKED, desired="running", restarted_at=())
            self._runs.requeue(job)
        else:
            self.end(job, "running")

    def end(self, job: Job, desired: str, reason: str = "stopping") -> None:
        """Step towards the end, whatever the phase."""
        if job.status.desired == "deleted":
            desired = "deleted"
        phase = job.status.phase
        if phase in {Phase.PENDING, Phase.BACKOFF}:
            self._coordinator.discard(job)
            self._state.apply(job, Event.STOP_ASKED, desired=desired, reason="stopped_by_user")
            if phase == Phase.BACKOFF:
                job.driven = False
            self._state.note_end(job)
        elif phase in {Phase.STARTING, Phase.RUNNING}:
            self._state.apply(job, Event.STOP_ASKED, desired=desired, reason=reason, detail=None)
            self._disk.then(partial(self._runs.stop, job))
            if not job.driven:  # it waits for its first lease
                self._runs.drive(job)
        elif job.status.desired != desired:
            self._state.apply(job, None, desired=desired)
