"""Wishes that overtake each other, and starts whose outcome is open, against a real journal."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from cnet.errors import ConflictError, TransientError, TransitionError
from cnet.model.lifecycle import Phase
from cnet.model.resources import Resources
from tests.unit.manager.scripted import bench

pytestmark = pytest.mark.anyio


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
