"""Runs with a lease: they end in time whatever becomes of the agent, and not before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from cnet.errors import ExecutionError, SpecError
from cnet.supervision import (
    Cgroups,
    Run,
    RunExit,
    RunSpec,
    Supervisor,
    lease,
    lease_now,
    procfs,
    tail,
)
from tests.supervision.site import Site, until

pytestmark = pytest.mark.anyio

REPOSITORY = Path(__file__).resolve().parents[2]
with_and_without_cgroups = pytest.mark.parametrize(
    "cgroups", [None, Cgroups.none("the test asks for the walk")], ids=["cgroups", "walk"]
)
SLACK_S = 2.0
"""For a busy machine: a timer, rounds of SIGKILL, and this test's own look at it."""

# A command and a daemon in a session of its own, both deaf to SIGTERM; each says when it is up.
DEAF = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
os.write(1, b"up\\n")
time.sleep(600)
"""
# The same, but the command itself ends with the code 5 and leaves the daemon behind.
LEAVING = DEAF.replace(
    "time.sleep(600)", "time.sleep(600 * (os.getpid() != os.getsid(0)))\nos._exit(5)"
)


def leased(spec: RunSpec, seconds: float) -> RunSpec:
    return replace(spec, lease_until=lease_now() + seconds)


def state(pid: int) -> bytes:
    """As in /proc: `S` sleeps, `T` is stopped, `Z` has ended; nothing when it is gone."""
    fields = procfs.stat_fields(pid)
    return b"" if fields is None else fields[0]


def wakes(pid: int) -> int:
    """How often a process has gone to sleep so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            return int(line.split()[1])
    raise AssertionError("no count of context switches")


def lines(supervisor: Supervisor, spec: RunSpec) -> int:
    return len(tail(supervisor.log_path(spec.workload_id), 0))


async def gone(site: Site, *, by: float) -> float:
    """When nothing of the test's runs was left, at the latest `by` (both `lease_now` seconds)."""
    await until(lambda: site.pids() == [], within_s=max(0.1, by - lease_now()))
    return lease_now()


async def end_of(site: Site, spec: RunSpec) -> RunExit:
    """As the next agent finds it."""
    async with site.supervisor() as supervisor:
        found = await supervisor.attach(spec.workload_id, spec.attempt)
        assert found is not None
        return found if isinstance(found, RunExit) else await found.wait()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Inside, the process stands still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def agent(site: Site, spec: RunSpec, *, lease_s: float) -> Iterator[subprocess.Popen[str]]:
    """An agent in a process of its own that has launched `spec` and keeps renewing its lease."""
    wanted = {
        "run_id": spec.run_id,
        "workload_id": spec.workload_id,
        "argv": spec.argv,
        "grace_s": spec.grace_s,
        "lease_s": lease_s,
    }
    program = [sys.executable, "-m", "tests.supervision.agent_program", str(site.root)]
    process = subprocess.Popen(
        [*program, json.dumps([wanted])], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            assert [process.stdout.readline().split()[0] for _ in range(2)] == ["ready", "launched"]
            yield process
        finally:
            process.kill()


@with_and_without_cgroups
async def test_a_deaf_tree_is_gone_by_the_end_of_its_lease_plus_the_grace(
    site: Site, cgroups: Cgroups | None
) -> None:
    async with site.supervisor(cgroups=cgroups) as supervisor:
        spec = leased(site.python(DEAF, grace_s=0.5), 1.5)
        assert spec.lease_until is not None
        run = await supervisor.launch(spec)
        assert run.lease_until == pytest.approx(spec.lease_until, abs=1e-6)
        await until(lambda: lines(supervisor, spec) == 2)
        at = await gone(site, by=spec.lease_until + 0.5 + SLACK_S)
        assert at >= spec.lease_until + 0.5
        ended = await run.wait()
        assert ended == await supervisor.attach(spec.workload_id, 1)
    assert (ended.reason, ended.signal, ended.stopped) == ("lease_expired", signal.SIGKILL, False)
    assert ended.details is not None and "lease" in ended.details
    assert not ended.lost and not ended.never_ran


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_a_run_ends_in_time_without_its_agent(site: Site, number: signal.Signals) -> None:
    spec = site.python(DEAF, grace_s=0.3)
    spec = replace(spec, argv=("python3", *spec.argv[2:]))
    log = site.root / spec.workload_id / "output.log"
    with agent(site, spec, lease_s=1.0) as process:
        await until(lambda: len(tail(log, 0)) == 2)
        first = lease.read(str(site.root / spec.workload_id / "1"))
        assert first is not None
        await until(lambda: lease_now() > first + 0.2)
        assert len(site.pids()) == 2, "an agent that lives keeps it alive"
        process.send_signal(number)
        await until(lambda: state(process.pid) in (b"T", b"Z", b""))
        last = lease.read(str(site.root / spec.workload_id / "1"))
        assert last is not None
        assert await gone(site, by=last + 0.3 + SLACK_S) >= last
    ended = await end_of(site, spec)
    assert (ended.reason, ended.signal) == ("lease_expired", signal.SIGKILL)


async def test_a_run_ends_in_time_without_spawner_and_agent_and_says_its_last_word(
    site: Site,
) -> None:
    spec = site.script("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done")
    async with site.supervisor() as supervisor:
        spec = leased(spec, 0.8)
        run = await supervisor.launch(spec)
        await until(lambda: lines(supervisor, spec) == 1)
        assert supervisor.spawner_pid is not None
        os.kill(supervisor.spawner_pid, signal.SIGKILL)
    assert spec.lease_until is not None
    assert await gone(site, by=spec.lease_until + SLACK_S) >= spec.lease_until
    ended = await end_of(site, spec)
    assert (ended.reason, ended.exit_code) == ("lease_expired", 0)
    assert tail(run.directory.path.parent / "output.log", 1) == ["bye"]


async def test_renewals_keep_it_alive_and_wake_nobody(site: Site) -> None:
    async with site.supervisor() as supervisor:
        begun = lease_now()
        run = await supervisor.launch(leased(site.spec("sleep", "600"), 0.5))
        while lease_now() < begun + 2.5:
            await anyio.sleep(0.05)
            run.renew(lease_now() + 0.5)
        # It looks at the lease when it would have ended, not when it is renewed, nor in between.
        assert wakes(run.shim_pid) < 25
        assert run.exit is None
        assert run.lease_until is not None
        last = run.lease_until
        ended = await run.wait()
        assert last <= lease_now() < last + SLACK_S
    assert (ended.reason, ended.signal) == ("lease_expired", signal.SIGTERM)


async def test_a_shim_that_waits_for_a_lease_does_not_wake(site: Site) -> None:
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(leased(site.spec("sleep", "600"), 60))
        await until(lambda: state(run.shim_pid) == b"S")
        before = wakes(run.shim_pid)
        for ahead in range(100):
            run.renew(lease_now() + 61 + ahead)
        await anyio.sleep(0.5)
        assert wakes(run.shim_pid) == before
        await run.stop(grace_s=0)
        assert (await run.wait()).reason is None


async def test_a_renewal_never_shortens_and_needs_a_lease_that_holds(site: Site) -> None:
    async with site.supervisor() as supervisor:
        free = await supervisor.launch(site.spec("sleep", "600"))
        free.renew(lease_now() + 1)
        assert free.lease_until is None
        run = await supervisor.launch(leased(site.spec("sleep", "600"), 60))
        for until_s in (lease_now() + 0.1, float("nan"), -1.0):
            held = run.lease_until
            run.renew(until_s)
            assert run.lease_until == held == lease.read(str(run.directory.path))
        run.renew(float("inf"))
        assert lease.read(str(run.directory.path)) == pytest.approx(lease.MAX_S)
        for each in (free, run):
            await each.stop(grace_s=0)
            assert (await each.wait()).reason is None
        run.renew(lease_now() + 100)


async def test_a_shim_that_was_stopped_gives_no_grace_that_has_passed(site: Site) -> None:
    async with site.supervisor() as supervisor:
        spec = leased(site.python(DEAF, grace_s=2.0), 1.0)
        run = await supervisor.launch(spec)
        await until(lambda: lines(supervisor, spec) == 2)
        held = run.lease_until
        assert held is not None
        with stopped(run.shim_pid):
            await until(lambda: lease_now() > held + 2.1)
            run.renew(lease_now() + 60)
            assert run.lease_until == held, "too late for a renewal"
        await gone(site, by=lease_now() + 1.9)
        assert (await run.wait()).reason == "lease_expired"


async def test_what_is_written_after_the_decision_does_not_count(site: Site) -> None:
    script = "trap 'echo asked' TERM; echo up; while :; do sleep 0.02; done"
    async with site.supervisor() as supervisor:
        spec = leased(site.script(script, grace_s=1.0), 0.6)
        assert spec.lease_until is not None
        run = await supervisor.launch(spec)
        await until(lambda: "asked" in tail(supervisor.log_path(spec.workload_id), 0))
        lease.extend(str(run.directory.path), lease_now() + 60)
        await gone(site, by=spec.lease_until + 1.0 + SLACK_S)
        assert (await run.wait()).reason == "lease_expired"


async def test_a_lease_is_found_and_renewed_by_the_next_agent(site: Site) -> None:
    spec = leased(site.spec("sleep", "600"), 1.5)
    async with site.supervisor() as supervisor:
        await supervisor.launch(spec)
    async with site.supervisor() as supervisor:
        run = await supervisor.attach(spec.workload_id, 1)
        assert isinstance(run, Run)
        assert spec.lease_until is not None
        assert run.lease_until == pytest.approx(spec.lease_until, abs=1e-6)
        run.renew(spec.lease_until + 1.0)
        await until(lambda: lease_now() > (spec.lease_until or 0) + 0.5)
        assert run.exit is None
        ended = await run.wait()
        assert lease_now() >= spec.lease_until + 1.0
    assert ended.reason == "lease_expired"


@pytest.mark.parametrize("argv", [("touch", "started"), ("no-such-program",)])
async def test_what_is_over_before_it_starts_does_not_start(
    site: Site, tmp_path: Path, argv: tuple[str, ...]
) -> None:
    spec = replace(site.spec(*argv), cwd=str(tmp_path), lease_until=lease_now())
    async with site.supervisor() as supervisor:
        with pytest.raises(ExecutionError, match="lease was over") as caught:
            await supervisor.launch(spec)
        assert caught.value.code == "lease_expired"
        ended = await supervisor.attach(spec.workload_id, 1)
    assert isinstance(ended, RunExit)
    assert ended.never_ran
    assert (ended.reason, ended.exit_code, ended.signal) == ("lease_expired", None, None)
    assert not (tmp_path / "started").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change to another user")
async def test_another_user_has_its_lease_looked_at_as_well(site: Site) -> None:
    async with site.supervisor() as supervisor:
        spec = replace(site.script("exit 3"), run_as="nobody")
        assert (await (await supervisor.launch(leased(spec, 60))).wait()).exit_code == 3
        late = replace(site.script("exit 3"), run_as="nobody")
        with pytest.raises(ExecutionError, match="lease was over"):
            await supervisor.launch(leased(late, -1))


async def test_a_launch_held_up_until_its_lease_is_over_does_not_start(
    site: Site, tmp_path: Path
) -> None:
    codes: list[str] = []

    async with site.supervisor() as supervisor:
        spawner = supervisor.spawner_pid
        assert spawner is not None

        async def launch(spec: RunSpec) -> None:
            try:
                await supervisor.launch(spec)
            except ExecutionError as error:
                codes.append(error.code)

        late = lease_now() + 0.3
        spec = replace(site.spec("touch", "started"), cwd=str(tmp_path), lease_until=late)
        async with anyio.create_task_group() as group:
            with stopped(spawner):
                group.start_soon(launch, spec)
                await until(lambda: lease_now() > late)
    assert codes == ["lease_expired"]
    assert not (tmp_path / "started").exists()


async def test_a_command_that_ends_by_itself_keeps_its_code(site: Site) -> None:
    async with site.supervisor() as supervisor:
        ended = await (await supervisor.launch(leased(site.script("exit 7"), 60))).wait()
        assert (ended.exit_code, ended.reason) == (7, None)
        # Its end is its own even if the lease is over before what it left behind is gone.
        spec = leased(site.python(LEAVING, grace_s=5), 0.8)
        ended = await (await supervisor.launch(spec)).wait()
        assert spec.lease_until is not None
        assert lease_now() > spec.lease_until
        assert (ended.exit_code, ended.reason) == (5, None)


async def test_a_stop_that_takes_longer_than_the_lease_is_cut_short(site: Site) -> None:
    async with site.supervisor() as supervisor:
        spec = leased(site.python(DEAF, grace_s=0.2), 1.0)
        run = await supervisor.launch(spec)
        await until(lambda: lines(supervisor, spec) == 2)
        await run.stop(grace_s=600)
        assert spec.lease_until is not None
        await gone(site, by=spec.lease_until + 0.2 + SLACK_S)
        ended = await run.wait()
    assert (ended.stopped, ended.reason, ended.signal) == (True, None, signal.SIGKILL)


async def test_a_killed_shim_takes_a_command_with_a_lease_along(site: Site) -> None:
    spec = leased(site.spec("sleep", "600"), 60)
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(spec)
    os.kill(run.shim_pid, signal.SIGKILL)
    await until(lambda: site.pids() == [])
    ended = await end_of(site, spec)
    assert (ended.lost, ended.reason) == (True, "supervisor_lost")


async def test_a_lease_that_cannot_be_read_any_more_is_over(site: Site) -> None:
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(leased(site.spec("sleep", "600"), 0.5))
        (run.directory.path / lease.FILE).write_bytes(b"")
        assert (await run.wait()).reason == "lease_expired"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
async def test_an_end_that_is_no_time_is_refused(site: Site, bad: float) -> None:
    async with site.supervisor() as supervisor:
        with pytest.raises(SpecError) as caught:
            await supervisor.launch(replace(site.script(""), lease_until=bad))
    assert caught.value.field == "lease_until"
