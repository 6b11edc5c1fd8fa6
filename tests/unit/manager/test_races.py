"""Wishes that overtake each other, and starts whose outcome is open, against a real journal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import BaseModel, ConfigDict

from cnet.errors import ConflictError, TransientError, TransitionError
from cnet.executors.base import Run, Task
from cnet.manager import Journal, Manager
from cnet.model.lifecycle import Phase
from cnet.model.resources import Resources
from cnet.model.workload import WorkloadSpec
from cnet.register import Ledger
from cnet.supervision import RunExit, Usage

pytestmark = pytest.mark.anyio


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
async def bench(folder: Path, *, keep_ended: int = 100) -> AsyncIterator[Bench]:
    journal = Journal(folder / "cnet.db")
    journal.open()
    executor = ScriptedExecutor()
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


async def test_a_delete_overtakes_a_restart_during_the_pause(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        name = await it.submit(restart={"policy": "on_failure", "backoff_s": 3600})
        it.executor.runs[f"{name}.1"].end(1)
        await it.until(name, Phase.BACKOFF)
        workload = it.manager.get(name)
        refused: list[TransitionError] = []

        async def restart() -> None:
            try:
                await it.manager.restart(name)
            except TransitionError as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(restart)
            group.start_soon(it.manager.delete, name)
        with anyio.fail_after(10):
            await workload.forgotten.wait()
        assert len(refused) == 1
        assert "being deleted" in refused[0].message
        assert it.executor.living() == []
        assert it.manager.ledger.allocated == Resources()
        assert it.journal.workload_ids() == set()


@pytest.mark.parametrize("lost", [TransientError("closing"), ConflictError("launched before")])
async def test_a_start_of_open_outcome_is_looked_up_not_failed(
    tmp_path: Path, lost: Exception
) -> None:
    async with bench(tmp_path) as it:
        it.executor.answers_lost.append(lost)
        name = await it.submit()
        assert it.executor.living() == [f"{name}.1"]
        assert it.manager.ledger.allocated == Resources(cpu=1000)
        await it.manager.stop(name)
        await it.until(name, Phase.STOPPED)
        assert it.executor.living() == []
        assert it.manager.ledger.allocated == Resources()


async def test_what_is_being_forgotten_is_not_brought_back(tmp_path: Path) -> None:
    async with bench(tmp_path, keep_ended=0) as it:
        it.executor.may_remove = anyio.Event()
        name = await it.submit(id="0c0e6d7c-3a6f-4b39-9c5c-111111111111")
        it.executor.runs[f"{name}.1"].end(0)
        await it.until(name, Phase.COMPLETED)
        workload = it.manager.get(name)
        with anyio.fail_after(10):
            while not workload.being_forgotten:
                await anyio.lowlevel.checkpoint()
        with pytest.raises(TransitionError, match="being deleted"):
            await it.manager.restart(name)
        with pytest.raises(TransitionError, match="being deleted"):
            await it.manager.submit(workload.spec)
        it.executor.may_remove.set()
        with anyio.fail_after(10):
            await workload.forgotten.wait()
        assert it.executor.living() == []


async def test_the_oldest_end_is_forgotten_first_also_after_a_restart(tmp_path: Path) -> None:
    async with bench(tmp_path, keep_ended=2) as it:
        first, second = await it.submit(), await it.submit()
        for name, attempt in ((first, 1), (second, 1)):
            it.executor.runs[f"{name}.{attempt}"].end(0)
            await it.until(name, Phase.COMPLETED)
        await it.manager.restart(first)
        await it.until(first, Phase.RUNNING)
        it.executor.runs[f"{first}.2"].end(0)
        await it.until(first, Phase.COMPLETED)
        old = it.manager.get(second)
        third = await it.submit()
        it.executor.runs[f"{third}.1"].end(0)
        with anyio.fail_after(10):
            await old.forgotten.wait()
        assert {workload.id for workload in it.manager.workloads()} == {first, third}
