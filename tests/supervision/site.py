"""A root of run directories for one test, and ways to look at what runs there."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio

from cnet.supervision import Cgroups, Limits, RunSpec, Supervisor, procfs
from cnet.supervision.cgroup_setup import prepare

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


class Site:
    """One root of run directories, and specs whose run ids are recognisable as this test's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.prefix = f"t{secrets.token_hex(6)}"
        self.cgroups = prepare(str(root))
        self._count = 0

    def refresh(self) -> None:
        """Find the control groups again, after a change of `root`."""
        self.cgroups = prepare(str(self.root))

    def spec(
        self,
        *argv: str,
        workload_id: str | None = None,
        attempt: int = 1,
        grace_s: float = 5.0,
        limits: Limits | None = None,
    ) -> RunSpec:
        """A run of `argv` in the root of the file system; a workload of its own unless named."""
        self._count += 1
        run_id = f"{self.prefix}-{self._count}"
        return RunSpec(
            run_id=run_id,
            workload_id=workload_id or run_id,
            attempt=attempt,
            argv=argv,
            env=ENVIRONMENT,
            cwd="/",
            grace_s=grace_s,
            limits=limits or Limits(),
        )

    def script(self, text: str, *, grace_s: float = 5.0, limits: Limits | None = None) -> RunSpec:
        """A run of a shell script."""
        return self.spec("sh", "-c", text, grace_s=grace_s, limits=limits)

    def python(self, text: str, *, grace_s: float = 5.0, limits: Limits | None = None) -> RunSpec:
        """A run of a small Python program."""
        interpreter = "/usr/bin/env"
        spec = self.spec(interpreter, "python3", "-S", "-E", "-c", text, grace_s=grace_s)
        return replace(spec, limits=limits or Limits(), env=dict(os.environ))

    @asynccontextmanager
    async def supervisor(self, *, cgroups: Cgroups | None = None) -> AsyncIterator[Supervisor]:
        """A running Supervisor of this root."""
        supervisor = Supervisor(self.root, cgroups=cgroups or self.cgroups)
        async with anyio.create_task_group() as group:
            await group.start(supervisor.run)
            yield supervisor
            group.cancel_scope.cancel()

    def pids(self) -> list[int]:
        """Every living process that a run of this test started, however far it has fled."""
        entry = f"CNET_RUN_ID={self.prefix}-".encode()
        found = []
        for pid in procfs.all_pids():
            try:
                environment = procfs.read_bytes(f"/proc/{pid}/environ")
            except OSError:
                continue
            if entry in environment and procfs.start_time(pid) is not None:
                found.append(pid)
        return found


async def until(condition: Callable[[], bool], *, within_s: float = 20.0) -> None:
    """Wait for a condition of the outside world; TimeoutError after `within_s`."""
    with anyio.fail_after(within_s):
        while not condition():  # noqa: ASYNC110  a condition of the outside world
            await anyio.sleep(0.01)
