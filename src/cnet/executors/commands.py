"""Runs that are programs of this machine, under the supervisor: shared by all such executors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio.to_thread

from cnet.errors import TransitionError
from cnet.executors.base import Run, Task
from cnet.executors.conversing import converse
from cnet.executors.execs import Console, ExecRequest
from cnet.model.resources import millicores
from cnet.supervision import Limits, RunExit, RunSpec, Supervisor

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SSL_CERT_FILE")
"""What a workload gets of the agent's own environment. Nothing else: it may hold secrets."""

LEASE_SLACK_S = 2.0
"""A timer of the kernel and rounds of SIGKILL: milliseconds, on a machine that has other things to
do somewhat more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program with its arguments, what it needs in its environment, and where it starts."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """Size at which a log is rotated, in bytes, and the number of files kept."""

    max_bytes: int
    files: int


class CommandExecutor:
    """Start, find again and remove; a kind adds only `command`."""

    lease_slack_s = LEASE_SLACK_S

    def __init__(self, supervisor: Supervisor, logs: LogLimits) -> None:
        self._supervisor = supervisor
        self._logs = logs

    def command(self, task: Task) -> Command:
        """What to run for a task."""
        raise NotImplementedError(type(self).__name__)

    async def prepare(self, config: Any) -> None:
        """Nothing to check by default."""

    async def start(self, task: Task) -> Run:
        """Start under a shim of its own. Raises ExecutionError."""
        return await self._supervisor.launch(self._run_spec(task))

    async def attach(self, task: Task) -> Run | RunExit | None:
        """Find the shim, or its exit record."""
        return await self._supervisor.attach(task.workload_id, task.attempt)

    async def exec(self, task: Task, request: ExecRequest, console: Console) -> int:
        """See `Execs`."""
        run = self._supervisor.running(task.workload_id, task.attempt)
        if run is None:
            raise TransitionError(f"workload {task.workload_id} is not running")
        return await converse(run, request, console)

    async def remove(self, workload_id: str) -> None:
        """Remove the run directories and the log."""
        await anyio.to_thread.run_sync(self._supervisor.remove, workload_id)

    def log_path(self, workload_id: str) -> Path:
        """The newest file of the workload's log."""
        return self._supervisor.log_path(workload_id)

    def _run_spec(self, task: Task) -> RunSpec:
        spec, command = task.spec, self.command(task)
        return RunSpec(
            run_id=task.run_id,
            workload_id=task.workload_id,
            attempt=task.attempt,
            argv=command.argv,
            env={**_environment(task), **command.env},
            cwd=command.cwd or str(Path.cwd()),
            grace_s=spec.stop_grace_s,
            limits=Limits(
                memory_bytes=spec.requirements.memory or None,
                cpu_weight_millicores=millicores(spec.requirements.cpu) or None,
                cpu_quota_millicores=(
                    millicores(spec.limits.cpu) if spec.limits.cpu is not None else None
                ),
                pids=spec.limits.pids,
            ),
            run_as=spec.run_as,
            log_max_bytes=self._logs.max_bytes,
            log_files=self._logs.files,
            lease_until=task.lease_until,
        )


def _environment(task: Task) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {
        **inherited,
        "CNET_NODE_ID": task.node_id,
        "CNET_WORKLOAD_NAME": task.spec.name,
        # Empty hides every device from a workload that asked for none. CUDA counts by speed unless
        # it is told to count as the driver does, and the ledger with it.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(str(device) for device in task.gpu_devices),
    }
