"""A workload in the memory of a simulated agent."""

from __future__ import annotations

from cnet.model.workload import RestartPolicy, WorkloadSpec, WorkloadStatus
from cnet.simulator.machine import Run

NO_RESTARTS = RestartPolicy()


class Job:
    """What is wanted, what is the case, and the run there may be."""

    __slots__ = (
        "accepted",
        "driven",
        "forgetting",
        "id",
        "run",
        "spec",
        "status",
        "stop_asked",
        "wanted",
    )

    def __init__(self, job_id: str, spec: WorkloadSpec, status: WorkloadStatus) -> None:
        self.id = job_id
        self.spec = spec
        self.status = status
        self.wanted = spec.requirements.to_resources()
        self.accepted = False
        """durable; before that nobody but the submitter knows of it"""
        self.driven = False
        self.forgetting = False
        self.stop_asked = False
        self.run: Run | None = None

    @property
    def restart(self) -> RestartPolicy:
        """When an ended run is followed by another."""
        return self.spec.restart or NO_RESTARTS
