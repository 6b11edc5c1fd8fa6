"""A container that the engine is at odds with, as its run sees it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from cnet.executors.container.engine import Engine, EngineError
from cnet.executors.container.logs import LogCopy
from cnet.executors.container.records import RunRecords
from cnet.executors.container.run import ContainerRun
from cnet.supervision import RunExit

pytestmark = pytest.mark.anyio

GONE, CONFLICT, FAILS = 404, 409, 500
BEGUN, NEVER = "2026-11-30T03:30:00.5Z", "0001-01-01T00:00:00Z"


class FakeContainers:
    """What the client library makes of one container.

    `failures`: of a stop, before it is done; `in_the_way`: how often somebody else is removing it.
    """

    def __init__(self, status: str, *, failures: int = 0, in_the_way: float = 0) -> None:
        self.status = status
        self.failures = failures
        self.in_the_way = in_the_way
        self.stops = 0
        self.deletions = 0

    @property
    def containers(self) -> FakeContainers:
        return self

    def container(self, container_id: str) -> FakeContainers:
        assert container_id == "c"
        return self

    async def show(self) -> dict[str, Any]:
        state = {"Status": self.status, "Pid": 0, "ExitCode": 0, "OOMKilled": False}
        return {
            "Id": "c",
            "Image": "i",
            "State": state | {"StartedAt": BEGUN, "FinishedAt": NEVER},
        }

    async def stop(self, *, t: int) -> None:
        self.stops += 1
        if self.stops <= self.failures:
            raise EngineError(FAILS, "cannot stop container: it did not hear of its end")
        self.status = "exited"

    async def delete(self, *, force: bool, v: bool) -> None:
        self.deletions += 1
        if self.deletions > self.in_the_way:
            raise EngineError(GONE, "no such container: c")
        raise EngineError(CONFLICT, "removal of container c is already in progress")


class FakeEngine:
    """It is there."""

    def __init__(self, containers: FakeContainers) -> None:
        self._containers = containers

    async def ask(self, request: Any, *, within_s: float | None = None) -> Any:
        return await request(self._containers)

    ask_until_answered = ask

    async def takes_connections(self) -> bool:
        return True

    async def incarnation(self) -> str:
        return "it"


class NoLog:
    async def follow(self) -> None:
        """It says nothing."""

    async def finish(self) -> None:
        """As before."""


async def run_of(containers: FakeContainers, folder: Path) -> ContainerRun:
    records = RunRecords(folder, "w", 1)
    records.create()
    records.note_engine("it")
    return ContainerRun(
        cast("Engine", FakeEngine(containers)),
        await containers.show(),
        records=records,
        copy=cast("LogCopy", NoLog()),
        limits={},
        grace_s=0,
        boot_id="boot",
        survives_engine=False,
    )


async def end_of(run: ContainerRun, *, stop: bool = False) -> RunExit:
    """Watch it until it has ended."""
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            await group.start(run.watch)
            if stop:
                await run.stop()
            return await run.wait()


async def test_one_that_an_engine_never_finishes_to_remove_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker may stay at it for ever; it neither runs nor starts again."""
    monkeypatch.setattr("cnet.executors.container.run.REMOVED_WITHIN_S", 0.1)
    containers = FakeContainers("removing", in_the_way=math.inf)
    run = await run_of(containers, tmp_path)
    ended = await end_of(run)
    assert (ended.lost, ended.reason, ended.exit_code) == (True, "container_removed", None)
    assert RunRecords(tmp_path, "w", 1).exit() == ended, "the next agent must know, too"
    assert containers.deletions > 0


async def test_one_that_a_sweep_is_removing_has_gone_when_its_end_is_told(tmp_path: Path) -> None:
    containers = FakeContainers("exited", in_the_way=3)
    run = await run_of(containers, tmp_path)
    await end_of(run)
    assert containers.deletions == 4


async def test_a_stop_that_an_engine_fails_at_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnet.executors.container.run.RETRY_S", 0.01)
    containers = FakeContainers("running", failures=2)
    run = await run_of(containers, tmp_path)
    ended = await end_of(run, stop=True)
    assert (ended.stopped, ended.lost, containers.stops) == (True, False, 3)
