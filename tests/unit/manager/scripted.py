"""A manager over an executor that does as it is told, and a real journal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from pydantic import BaseModel, ConfigDict

from cnet.executors.base import Run, Task
from cnet.manager import Journal, Manager
from cnet.model.lifecycle import Phase
from cnet.model.resources import Resources
from cnet.model.workload import WorkloadSpec
from cnet.register import Ledger
from cnet.supervision import RunExit, Usage


class AnyConfig(BaseModel):
    model_config = ConfigDict(extra="allow")


class ScriptedRun:
    """A run that ends when it is told to."""

    pid = 1
    started_at = 1.0
    limits: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.code = 0

    def end(self, code: int) -> None:
        self.code = code
        self.ended.set()

    async def wait(self) -> RunExit:
        await self.ended.wait()
        return RunExit(
            exit_code=self.code,
            signal=None,
            oom_killed=False,
            stopped=False,
            lost=False,
            reason=None,
            details=None,
            started_at=1.0,
            ended_at=2.0,
        )

    async def stop(self, *, grace_s: float | None = None) -> None:
        self.ended.set()

    def usage(self) -> Usage:
        return Usage(cpu_s=0.0, rss_bytes=0, processes=1)


class ScriptedExecutor:
    """Starts `ScriptedRun`s; can lose the answer of a start, and take its time to remove."""

    kind = "scripted"
    config_model = AnyConfig

    def __init__(self) -> None:
        self.runs: dict[str, ScriptedRun] = {}
        self.answers_lost: list[Exception] = []
        self.may_remove = anyio.Event()
        self.may_remove.set()

    def living(self) -> list[str]:
        return [run_id for run_id, run in self.runs.items() if not run.ended.is_set()]

    async def prepare(self, config: Any) -> None:
        """Anything goes."""

    async def start(self, task: Task) -> Run:
        assert task.run_id not in self.runs, "the same attempt was started twice"
        run = self.runs[task.run_id] = ScriptedRun()
        if self.answers_lost:
            raise self.answers_lost.pop()
        return run

    async def attach(self, task: Task) -> Run | RunExit | None:
        return self.runs.get(task.run_id)

    async def remove(self, workload_id: str) -> None:
        await self.may_remove.wait()


class Bench:
    """A manager over a scripted executor."""

    def __init__(self, manager: Manager, executor: ScriptedExecutor, journal: Journal) -> None:
        self.manager = manager
        self.executor = executor
        self.journal = journal

    async def submit(self, **fields: Any) -> str:
        body = {"name": "w", "type": "scripted", "requirements": {"cpu": 1}, **fields}
        workload, _ = await self.manager.submit(WorkloadSpec.model_validate(body))
        await workload.until(lambda status: status.phase == Phase.RUNNING)
        return workload.id

    async def until(self, workload_id: str, phase: Phase) -> None:
        with anyio.fail_after(10):
            await self.manager.get(workload_id).until(lambda status: status.phase == phase)


@asynccontextmanager
async def bench(
    folder: Path, *, keep_ended: int = 100, executor: ScriptedExecutor | None = None
) -> AsyncIterator[Bench]:
    journal = Journal(folder / "cnet.db")
    journal.open()
    executor = executor or ScriptedExecutor()
    manager = Manager(
        node_id="n",
        ledger=Ledger(Resources(cpu=4000)),
        journal=journal,
        executors={"scripted": executor},
        keep_ended=keep_ended,
    )
    try:
        async with anyio.create_task_group() as group:
            await group.start(manager.run)
            yield Bench(manager, executor, journal)
            group.cancel_scope.cancel()
    finally:
        journal.close()
