"""Executors of programs whose config may name stored data; a kind adds only `inputs_of`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread

from cnet.errors import SpecError
from cnet.executors.base import Task
from cnet.executors.commands import CommandExecutor, LogLimits
from cnet.executors.data_refs import DataRef, Input
from cnet.executors.inputs import Inputs, discard
from cnet.model.workload import WorkloadSpec
from cnet.supervision import Supervisor

FOLDER = "inputs"
"""In the folder of a workload; only the present run has one."""


class DataUser(CommandExecutor):
    """Implements `FetchesInputs`."""

    may_link = False
    """the program never writes to what it is given, so that the next run may have it, too"""

    def __init__(
        self, supervisor: Supervisor, logs: LogLimits, inputs: Inputs | None = None
    ) -> None:
        super().__init__(supervisor, logs)
        self._inputs = inputs
        self._placed: dict[str, Mapping[tuple[str, DataRef], Path]] = {}

    def inputs_of(self, config: Any) -> Sequence[Input]:
        """What a config names of stored data; no reference twice with the same field."""
        raise NotImplementedError(type(self).__name__)

    async def require_inputs(self, spec: WorkloadSpec, config: Any) -> None:
        """See `FetchesInputs`."""
        if wanted := self.inputs_of(config):
            await self._usable(spec, wanted).require(wanted)

    async def fetch(self, task: Task, *, again: bool, tell: Callable[[str], None]) -> None:
        """See `FetchesInputs`."""
        wanted = self.inputs_of(task.config)
        if not wanted or (again and self.may_link and task.workload_id in self._placed):
            return  # a service comes back although nobody has its data any more
        placed = await self._usable(task.spec, wanted).place(
            wanted, self.folder(task), owner=task.owner, linked=self.may_link, tell=tell
        )
        self._placed[task.workload_id] = {
            (each.field, each.ref): path for each, path in placed.items()
        }

    async def release(self, task: Task) -> None:
        """See `FetchesInputs`."""
        self._placed.pop(task.workload_id, None)
        if self.inputs_of(task.config):
            await anyio.to_thread.run_sync(discard, self.folder(task))

    def folder(self, task: Task) -> Path:
        """Where the inputs of a run are."""
        return self._supervisor.workload_dir(task.workload_id) / FOLDER

    def placed(self, task: Task, field: str, ref: DataRef) -> Path:
        """Where `fetch` has put what a field names."""
        return self._placed[task.workload_id][field, ref]

    async def remove(self, workload_id: str) -> None:
        """Remove the run directories, the inputs and the log."""
        self._placed.pop(workload_id, None)
        await super().remove(workload_id)

    def _usable(self, spec: WorkloadSpec, wanted: Sequence[Input]) -> Inputs:
        field = wanted[0].field
        if self._inputs is None:
            raise SpecError(f"{field}: this node stores no data", field=field)
        if spec.run_as is not None:
            raise SpecError(
                "run_as: not together with data://: only the agent's own user may read what it "
                "stores",
                field="run_as",
            )
        return self._inputs
