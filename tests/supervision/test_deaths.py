"""Agents, spawners and shims killed at any moment: nothing lost, doubled or orphaned."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from cnet.errors import ExecutionError
from cnet.supervision import Cgroups, Run, RunExit, RunSpec, Supervisor, procfs, tail
from tests.supervision.site import Site, until

pytestmark = pytest.mark.anyio

REPOSITORY = Path(__file__).resolve().parents[2]


def starts(folder: Path, spec: RunSpec) -> int:
    """How often the command of `spec` was started: each start appends a byte."""
    mark = folder / spec.workload_id
    return mark.stat().st_size if mark.exists() else 0


def marking(site: Site, folder: Path, then: str) -> RunSpec:
    """A run that leaves a mark when it starts."""
    spec = site.script("")
    return replace(spec, argv=("sh", "-c", f"printf x >> {folder}/{spec.workload_id}; {then}"))


def start_agent(root: Path, specs: list[RunSpec]) -> subprocess.Popen[str]:
    wanted = [
        {"run_id": spec.run_id, "workload_id": spec.workload_id, "argv": spec.argv}
        for spec in specs
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.supervision.agent_program", str(root), json.dumps(wanted)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )


def kill_after_lines(agent: subprocess.Popen[str], lines: int) -> None:
    """Read `lines` of what the agent says, then SIGKILL."""
    assert agent.stdout is not None
    for _ in range(lines):
        agent.stdout.readline()
    agent.kill()
    agent.wait()
    agent.stdout.close()


@pytest.mark.parametrize("lines", [1, 5, 12, 21])
async def test_a_killed_agents_runs_are_found_again(site: Site, tmp_path: Path, lines: int) -> None:
    """Killed while launching 20: half of them end by themselves, with the code 3."""
    specs = [
        marking(site, tmp_path, "sleep 600" if number % 2 else "exit 3") for number in range(20)
    ]
    agent = await anyio.to_thread.run_sync(start_agent, site.root, specs)
    await anyio.to_thread.run_sync(kill_after_lines, agent, lines)
    living = []
    async with site.supervisor() as supervisor:
        for number, spec in enumerate(specs):
            found = await supervisor.attach(spec.workload_id, 1)
            if found is None:
                assert starts(tmp_path, spec) == 0
                found = await supervisor.launch(spec)
            if number % 2:
                assert isinstance(found, Run)
                assert procfs.start_time(found.pid) is not None
                living.append(found)
            else:
                ended = found if isinstance(found, RunExit) else await found.wait()
                assert (ended.exit_code, ended.lost) == (3, False)
        await until(lambda: all(starts(tmp_path, spec) == 1 for spec in specs))
        for run in living:
            await run.stop(grace_s=0)
        for run in living:
            assert (await run.wait()).stopped


async def test_a_killed_spawner_is_replaced_and_nothing_starts_twice(
    site: Site, tmp_path: Path
) -> None:
    chance = random.Random(4)
    specs = [marking(site, tmp_path, f"exit {number}") for number in range(100)]
    codes: dict[int, int | None] = {}

    async with site.supervisor() as supervisor:

        async def one(number: int) -> None:
            run = await supervisor.launch(specs[number])
            codes[number] = (await run.wait()).exit_code

        async def kill_spawners() -> None:
            while len(codes) < len(specs):
                pid = supervisor.spawner_pid
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                await anyio.sleep(chance.uniform(0.05, 0.4))

        async with anyio.create_task_group() as group:
            group.start_soon(kill_spawners)
            for number in range(len(specs)):
                group.start_soon(one, number)
    assert codes == {number: number for number in range(len(specs))}
    assert [starts(tmp_path, spec) for spec in specs] == [1] * len(specs)


async def test_running_commands_do_not_notice_a_killed_spawner(site: Site) -> None:
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(site.spec("sleep", "600"))
        assert supervisor.spawner_pid is not None
        os.kill(supervisor.spawner_pid, signal.SIGKILL)
        quick = await supervisor.launch(site.script("exit 9"))
        assert (await quick.wait()).exit_code == 9
        assert procfs.start_time(run.pid) is not None
        await run.stop()
        assert (await run.wait()).signal == signal.SIGTERM


@pytest.mark.parametrize(
    "cgroups", [None, Cgroups.none("the test searches")], ids=["cgroups", "search"]
)
async def test_a_killed_shim_is_a_lost_run_without_orphans(
    site: Site, cgroups: Cgroups | None
) -> None:
    # A grandchild in a session of its own, deaf to SIGTERM, without the command's parent.
    program = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(1, b"up\\n")
        time.sleep(600)
    os._exit(0)
time.sleep(600)
"""
    spec = site.python(program)
    async with site.supervisor(cgroups=cgroups) as supervisor:
        run = await supervisor.launch(spec)
        await until(lambda: tail(supervisor.log_path(spec.workload_id), 1) == ["up"])
        await until(lambda: len(site.pids()) == 2 and run.usage().processes == 2)
        os.kill(run.shim_pid, signal.SIGKILL)
        ended = await run.wait()
        assert (ended.lost, ended.reason) == (True, "supervisor_lost")
        assert (ended.exit_code, ended.signal) == (None, None)
        assert site.pids() == []
        assert await supervisor.attach(spec.workload_id, 1) == ended


async def test_shims_killed_while_launching_are_lost_or_launched_again(
    site: Site, tmp_path: Path
) -> None:
    specs = [marking(site, tmp_path, "sleep 600") for _ in range(30)]
    outcomes: list[RunExit | Run] = []

    async with site.supervisor() as supervisor:

        async def one(spec: RunSpec) -> None:
            outcomes.append(await supervisor.launch(spec))

        async def kill_shims() -> None:
            while len(outcomes) < len(specs):
                for pid in procfs.children(supervisor.spawner_pid or 0)[:1]:
                    os.kill(pid, signal.SIGKILL)
                await anyio.sleep(0.02)

        async with anyio.create_task_group() as group:
            group.start_soon(kill_shims)
            for spec in specs:
                group.start_soon(one, spec)
        for outcome in outcomes:
            assert isinstance(outcome, Run)
            await outcome.stop(grace_s=0)
            await outcome.wait()
    assert all(starts(tmp_path, spec) <= 1 for spec in specs)


async def test_a_pid_with_another_start_time_is_not_trusted(site: Site) -> None:
    """The record of a dead shim names the pid of a bystander, who must be left alone."""
    spec = site.spec("sleep", "600")
    bystander = await anyio.open_process(["sleep", "600"], env={"PATH": os.environ["PATH"]})
    try:
        async with site.supervisor() as supervisor:
            run = await supervisor.launch(spec)
            os.kill(run.shim_pid, signal.SIGKILL)
            await until(lambda: site.pids() == [])
        directory = supervisor.workload_dir(spec.workload_id) / "1"
        record = dict(run.record)
        (directory / "exit.json").unlink(missing_ok=True)
        record["pid"] = record["shim_pid"] = bystander.pid
        (directory / "shim.json").write_text(json.dumps(record))
        async with site.supervisor() as again:
            ended = await again.attach(spec.workload_id, 1)
            assert isinstance(ended, RunExit)
            assert (ended.lost, ended.reason) == (True, "supervisor_lost")
        assert procfs.start_time(bystander.pid) is not None
    finally:
        bystander.kill()
        await bystander.wait()


async def test_a_run_of_an_earlier_boot_is_lost_by_reboot(site: Site) -> None:
    spec = site.script("exit 0")
    async with site.supervisor() as supervisor:
        await (await supervisor.launch(spec)).wait()
    directory = supervisor.workload_dir(spec.workload_id) / "1"
    (directory / "exit.json").unlink()
    for name in ("spec.json", "shim.json"):
        record = json.loads((directory / name).read_text())
        (directory / name).write_text(json.dumps({**record, "boot_id": "an-earlier-one"}))
    async with site.supervisor() as again:
        ended = await again.attach(spec.workload_id, 1)
    assert isinstance(ended, RunExit)
    assert (ended.lost, ended.reason) == (True, "node_rebooted")


async def test_a_spec_that_nobody_claimed_may_be_launched(site: Site) -> None:
    spec = site.script("exit 4")
    async with site.supervisor() as supervisor:
        await (await supervisor.launch(spec)).wait()
    directory = supervisor.workload_dir(spec.workload_id) / "1"
    for name in ("exit.json", "shim.json"):
        (directory / name).unlink()
    async with site.supervisor() as again:
        assert await again.attach(spec.workload_id, 1) is None
        assert not directory.exists()
        assert (await (await again.launch(spec)).wait()).exit_code == 4


async def test_a_second_supervisor_waits_for_the_first(site: Site) -> None:
    second = Supervisor(site.root, cgroups=site.cgroups)
    async with site.supervisor() as first:
        run = await first.launch(site.spec("sleep", "600"))
        with anyio.move_on_after(0.5) as scope:
            async with anyio.create_task_group() as group:
                await group.start(second.run)
        assert scope.cancelled_caught
        await run.stop()
        await run.wait()
    async with site.supervisor() as third:
        assert (await (await third.launch(site.script("exit 0"))).wait()).exit_code == 0


async def test_sweep_ends_what_nobody_knows_and_keeps_the_rest(site: Site) -> None:
    known, unknown, ended = site.spec("sleep", "600"), site.spec("sleep", "600"), site.script("")
    async with site.supervisor() as supervisor:
        await supervisor.launch(unknown)
        await supervisor.launch(known)
        await (await supervisor.launch(ended)).wait()
    async with site.supervisor() as again:
        removed = await anyio.to_thread.run_sync(again.sweep, {known.workload_id})
        assert sorted(removed) == sorted([unknown.workload_id, ended.workload_id])
        assert not again.workload_dir(unknown.workload_id).exists()
        run = await again.attach(known.workload_id, 1)
        assert isinstance(run, Run)
        assert len(site.pids()) == 1
        await run.stop()
        await run.wait()
        again.remove(known.workload_id)
        again.remove(known.workload_id)
        assert not again.workload_dir(known.workload_id).exists()


async def test_a_spawner_that_cannot_start_is_an_error_that_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ExceptionGroup) as caught:
        async with site.supervisor():
            pytest.fail("a spawner that ends at once cannot be ready")
    error = caught.value
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ExecutionError)
    assert error.code == "spawner_failed"
    assert "exit code 1" in error.message
