"""Limits by control group where this machine permits, by prlimit where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnet.supervision import Cgroups, Limits, tail
from tests.supervision.site import Site

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
HUNGRY = "block = bytearray(300 * 1024 * 1024)\nprint('survived')"


def need(site: Site, controller: str) -> None:
    if controller not in site.cgroups.bases:
        pytest.skip(f"no control group here: {site.cgroups.describe()[controller]}")


async def test_too_much_memory_is_killed_and_named(site: Site) -> None:
    need(site, "memory")
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(site.python(HUNGRY, limits=Limits(memory_bytes=64 * MIB)))
        assert run.limits["memory"].startswith("cgroup_v")
        ended = await run.wait()
    assert (ended.signal, ended.oom_killed) == (9, True)


async def test_a_killed_child_is_named_even_if_its_parent_ends_with_0(site: Site) -> None:
    need(site, "memory")
    script = f"python3 -S -E -c '{HUNGRY}'; exit 0".replace("'survived'", "1")
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(site.script(script, limits=Limits(memory_bytes=64 * MIB)))
        ended = await run.wait()
    assert (ended.exit_code, ended.oom_killed) == (0, True)


async def test_enough_memory_is_not_touched(site: Site) -> None:
    need(site, "memory")
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(site.python(HUNGRY, limits=Limits(memory_bytes=512 * MIB)))
        ended = await run.wait()
    assert (ended.exit_code, ended.oom_killed) == (0, False)


async def test_without_control_groups_memory_is_limited_by_prlimit(site: Site) -> None:
    limits = Limits(memory_bytes=64 * MIB, cpu_weight_millicores=500, pids=10)
    async with site.supervisor(cgroups=Cgroups.none("the test says so")) as supervisor:
        spec = site.python(HUNGRY, limits=limits)
        run = await supervisor.launch(spec)
        assert run.limits == {"memory": "rlimit_data", "cpu": "none", "pids": "none"}
        assert "RLIMIT_DATA" in supervisor.describe_limits()["memory"]
        assert "the test says so" in supervisor.describe_limits()["cpu"]
        ended = await run.wait()
        assert "MemoryError" in tail(supervisor.log_path(spec.workload_id), 5)[-1]
    assert (ended.exit_code, ended.oom_killed) == (1, False)


async def test_more_processes_than_allowed_cannot_be_forked(site: Site) -> None:
    need(site, "pids")
    program = """
import os, time
forked = 0
try:
    for _ in range(50):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        forked += 1
except BlockingIOError:
    print("forked", forked)
"""
    spec = site.python(program, grace_s=0.2, limits=Limits(pids=8))
    async with site.supervisor() as supervisor:
        await (await supervisor.launch(spec)).wait()
        assert tail(supervisor.log_path(spec.workload_id), 1) == ["forked 7"]


def weight(directory: str) -> str:
    """Of one core: 1024 shares in version 1, 39 in version 2."""
    for name in ("cpu.shares", "cpu.weight"):
        if Path(directory, name).exists():
            return Path(directory, name).read_text().strip()
    return "none"


async def test_a_cpu_quota_holds(site: Site) -> None:
    need(site, "cpu")
    program = """
import time
end = time.monotonic() + 1.5
while time.monotonic() < end:
    pass
print(time.process_time())
"""
    limits = Limits(cpu_quota_millicores=200, cpu_weight_millicores=1000)
    spec = site.python(program, limits=limits)
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(spec)
        directory = next(path for path in run.record["cgroups"] if "/cpu" in path)
        assert weight(directory) in ("1024", "39")
        await run.wait()
        used = float(tail(supervisor.log_path(spec.workload_id), 1)[0])
    assert used < 0.6
