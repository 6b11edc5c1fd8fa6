"""Ending runs: everything a command ever started goes with it."""

from __future__ import annotations

import time

import pytest

from cnet.supervision import Cgroups, Run, tail
from tests.supervision.site import Site, until

pytestmark = pytest.mark.anyio

# A daemon the old way: fork, setsid, fork; then deaf to SIGTERM. Says its pid.
DAEMON = """
import os, signal, sys, time
def daemon():
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(1, b"daemon %d\\n" % os.getpid())
    time.sleep(600)
for _ in range(3):
    daemon()
"""
WITHOUT_CGROUPS = Cgroups.none("the test asks for the walk")
with_and_without_cgroups = pytest.mark.parametrize(
    "cgroups", [None, WITHOUT_CGROUPS], ids=["cgroups", "walk"]
)


def daemons(run: Run) -> int:
    return len([line for line in tail(run.directory.path.parent / "output.log", 0) if line])


@with_and_without_cgroups
async def test_a_deaf_tree_of_daemons_is_gone_after_the_grace(
    site: Site, cgroups: Cgroups | None
) -> None:
    program = DAEMON + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"
    async with site.supervisor(cgroups=cgroups) as supervisor:
        run = await supervisor.launch(site.python(program, grace_s=0.5))
        await until(lambda: daemons(run) == 3)
        assert len(site.pids()) == 4
        begun = time.monotonic()
        await run.stop()
        ended = await run.wait()
        assert time.monotonic() - begun > 0.4  # it would have slept for ten minutes
        assert site.pids() == []
    assert ended.stopped
    assert ended.signal == 9


@with_and_without_cgroups
async def test_daemons_left_by_a_command_that_ends_are_ended(
    site: Site, cgroups: Cgroups | None
) -> None:
    async with site.supervisor(cgroups=cgroups) as supervisor:
        run = await supervisor.launch(site.python(DAEMON + "sys.exit(3)", grace_s=0.3))
        ended = await run.wait()
        assert site.pids() == []
    assert (ended.exit_code, ended.stopped) == (3, False)


async def test_a_polite_command_ends_on_sigterm_at_once(site: Site) -> None:
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(
            site.script("trap 'echo bye; exit 4' TERM; echo up; while :; do sleep 0.05; done")
        )
        await until(lambda: daemons(run) == 1)
        await run.stop(grace_s=30)
        ended = await run.wait()
        lines = tail(supervisor.log_path(run.directory.path.parent.name), 0)
        assert (lines[0], lines[-1]) == ("up", "bye")
    assert (ended.exit_code, ended.signal, ended.stopped) == (4, None, True)


async def test_a_second_stop_with_less_grace_shortens_the_first(site: Site) -> None:
    program = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)\n"
        "time.sleep(600)"
    )
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(site.python(program))
        await until(lambda: daemons(run) == 1)
        begun = time.monotonic()
        await run.stop(grace_s=60)
        await run.stop(grace_s=60)
        await run.stop(grace_s=0.2)
        await run.wait()
        assert time.monotonic() - begun < 50
        await run.stop()


async def test_a_stop_once_asked_is_completed_without_the_agent(site: Site) -> None:
    program = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)\n"
        "time.sleep(600)"
    )
    spec = site.python(program)
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(spec)
        await until(lambda: daemons(run) == 1)
        await run.stop(grace_s=0.3)
    await until(lambda: site.pids() == [])
    async with site.supervisor() as supervisor:
        ended = await supervisor.attach(spec.workload_id, 1)
        assert not isinstance(ended, Run)
        assert ended is not None
        assert (ended.stopped, ended.signal) == (True, 9)


@with_and_without_cgroups
async def test_a_fork_bomb_is_stopped(site: Site, cgroups: Cgroups | None) -> None:
    # Every process of it starts another and ends: no list of pids is ever up to date.
    program = """
import os, time
os.write(1, b"go\\n")
while True:
    if os.fork():
        time.sleep(0.002)
        os._exit(0)
    os.setsid()
"""
    async with site.supervisor(cgroups=cgroups) as supervisor:
        run = await supervisor.launch(
            site.script(f"python3 -S -E -c '{program}'; sleep 60", grace_s=0.2)
        )
        await until(lambda: daemons(run) == 1)
        await run.stop(grace_s=0)
        await run.wait()
        assert site.pids() == []
