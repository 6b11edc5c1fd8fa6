"""Sees what no agent sees, and holds every event against what CNET promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnet.model.workload import WorkloadSpec, WorkloadStatus
from cnet.register import Ledger
from cnet.simulator.timeline import Timeline

if TYPE_CHECKING:
    from cnet.simulator.job import Job
    from cnet.simulator.machine import Machine, Run


class ViolationError(AssertionError):
    """A promise was broken; the message says which, where and when."""


class Witness:
    """Told of every start, end, acceptance and deletion by those that do them."""

    def __init__(self, timeline: Timeline) -> None:
        self.slow_disks = False
        self.machines: dict[str, Machine] = {}
        self.running: dict[str, str] = {}
        """workload → the machine where a process of it is alive"""
        self.owners: dict[str, str] = {}
        """every workload that was accepted and is not deleted → its owner"""
        self.wished: dict[str, list[tuple[int, str]]] = {}
        """the last wish that a user was told is safe, and those after it that may have been lost"""
        self.deletable: set[str] = set()
        self._wishes = 0
        self.starts_seen = 0
        self._timeline = timeline

    def fail(self, text: str) -> ViolationError:
        """A violation, with the moment."""
        return ViolationError(f"{text} (at {self._timeline.now:.3f} s)")

    # --- runs ----------------------------------------------------------------------------------

    def starts(self, machine: Machine, run: Run) -> None:
        """A process is about to start."""
        self.starts_seen += 1
        self._timeline.note(f"{machine.node_id} runs {run.job_id} attempt {run.attempt}")
        other = self.running.get(run.job_id)
        if other is not None:
            raise self.fail(f"{run.job_id} runs twice: on {other} and on {machine.node_id}")
        if machine.attach(run.job_id, run.attempt) is not None:
            raise self.fail(f"{machine.node_id} starts attempt {run.attempt} of {run.job_id} again")
        if not (machine.used + run.room).fits(machine.capacity):
            raise self.fail(f"{machine.node_id} runs more than it has room for: {run.job_id}")
        agent = machine.agent
        if agent is None or agent.ledger.allocation(run.job_id) is None:
            raise self.fail(f"{run.job_id} runs on {machine.node_id} without room of its own")
        self._require_valid(machine, agent.jobs_by_id[run.job_id].status, run.job_id)
        self.running[run.job_id] = machine.node_id

    def _require_valid(self, machine: Machine, status: WorkloadStatus, job_id: str) -> None:
        if status.owner is None:
            return
        owned = self.status_at_owner(status.owner, job_id)
        here = (machine.node_id, status.assignment)
        if owned is None or (owned.host, owned.assignment) != here:
            gives = "nothing of it" if owned is None else f"{owned.host} k={owned.assignment}"
            raise self.fail(
                f"{job_id} starts on {here[0]} k={here[1]} where its owner {status.owner} says "
                f"{gives}"
            )

    def status_at_owner(self, owner: str, job_id: str) -> WorkloadStatus | None:
        """As its owner has it in memory, or while that is down on its disk."""
        machine = self.machines[owner]
        if machine.agent is not None:
            job = machine.agent.jobs_by_id.get(job_id)
            return None if job is None else job.status
        record = machine.disk.get(job_id)
        return None if record is None else record.status

    def ends(self, machine: Machine, run: Run) -> None:
        """A process is gone."""
        self._timeline.note(f"{machine.node_id}: the run of {run.job_id} is over ({run.reason})")
        del self.running[run.job_id]

    def removes(self, machine: Machine, run: Run) -> None:
        """The traces of a run are erased."""
        if run.alive:
            raise self.fail(f"{machine.node_id} forgets {run.job_id} while it runs")

    def releases(self, machine: Machine, job_id: str) -> None:
        """Room is given back."""
        if self.running.get(job_id) == machine.node_id:
            raise self.fail(f"{machine.node_id} gives room back while {job_id} runs in it")

    # --- books ---------------------------------------------------------------------------------

    def books(self, node_id: str, ledger: Ledger, job: Job) -> None:
        """A status has changed: the ledger must have changed with it."""
        if job.status.holds_room != (ledger.allocation(job.id) is not None):
            raise self.fail(
                f"{node_id}: {job.id} is {job.status.phase}, its room in the ledger is "
                f"{ledger.allocation(job.id)}"
            )

    def taken_back(self, owner: str, job_id: str, host: str) -> None:
        """An owner holds a workload for free again."""
        where = self.running.get(job_id)
        if where is not None:
            raise self.fail(f"{owner} takes {job_id} back from {host} while it runs on {where}")

    def accepts(self, owner: str, job_id: str, spec: WorkloadSpec) -> None:
        """A user was told that a workload is safe."""
        self._timeline.note(f"{owner} has accepted {job_id} for {spec.node or 'any node'}")
        self.owners[job_id] = owner
        self.wished[job_id] = [(0, "running")]

    def asks(self, job_id: str, desired: str) -> int:
        """A user asks; the number of that wish."""
        self._timeline.note(f"a user wants {job_id} {desired}")
        self._wishes += 1
        self.wished.setdefault(job_id, []).append((self._wishes, desired))
        if desired == "deleted":
            self.deletable.add(job_id)
        return self._wishes

    def answered(self, job_id: str, number: int) -> None:
        """A user was told that a wish is safe."""
        wishes = self.wished.get(job_id, [])
        self.wished[job_id] = [wish for wish in wishes if wish[0] >= number]

    def forgets(self, node_id: str, job_id: str, status: WorkloadStatus) -> None:
        """A record is to be erased."""
        if status.owner is None and job_id not in self.deletable:
            raise self.fail(f"{node_id} forgets {job_id}, and nobody has asked for that")

    def forgotten(self, job_id: str) -> None:
        """The record at the owner is gone."""
        self.owners.pop(job_id, None)
        self.wished.pop(job_id, None)
