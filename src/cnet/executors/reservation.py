"""`reservation`: room held on a node for a time, to be claimed by a workload that names it."""

from __future__ import annotations

import dataclasses

from pydantic import BaseModel, ConfigDict, Field

from cnet.executors.base import Task
from cnet.executors.commands import Command, CommandExecutor
from cnet.supervision import Limits, RunSpec

KIND = "reservation"
MAX_S = 30 * 86_400


class ReservationConfig(BaseModel):
    """`config` of a reservation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(
        600, gt=0, le=MAX_S, allow_inf_nan=False, description="how long the room is held"
    )


class ReservationExecutor(CommandExecutor):
    """A run that does nothing until its time is over.

    It is a process like any other, so that it is found again after the death of the agent, counts
    against the quota, and can be listed, stopped and deleted.
    """

    kind = KIND
    config_model = ReservationConfig

    def command(self, task: Task) -> Command:
        """`sleep`, for as long as the room is held."""
        return Command(argv=("sleep", f"{task.config.seconds:f}"))

    def _run_spec(self, task: Task) -> RunSpec:
        # The room is held for others: it does not bound the placeholder.
        return dataclasses.replace(super()._run_spec(task), limits=Limits())
