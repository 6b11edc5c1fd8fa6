"""Output of commands: kept, bounded, rotated, and never in the way of the command or the agent."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from cnet.supervision import follow, tail
from tests.supervision.site import Site, until

pytestmark = pytest.mark.anyio


async def test_attempts_share_one_log_in_order(site: Site) -> None:
    async with site.supervisor() as supervisor:
        for attempt in (1, 2, 3):
            spec = site.spec("sh", "-c", f"echo {attempt}", workload_id="w", attempt=attempt)
            await (await supervisor.launch(spec)).wait()
        assert tail(supervisor.log_path("w"), 10) == ["1", "2", "3"]
        assert tail(supervisor.log_path("w"), 2) == ["2", "3"]


async def test_a_flood_stays_bounded_and_leaves_the_loop_responsive(site: Site) -> None:
    # Some hundred thousand lines a second, numbered so that the newest can be recognised.
    spec = site.spec("sh", "-c", "seq 1 3000000; echo last")
    spec = replace(spec, log_max_bytes=1_000_000, log_files=3)
    stalls: list[float] = []

    async def watch() -> None:
        while True:
            before = time.perf_counter()
            await anyio.sleep(0.005)
            stalls.append(time.perf_counter() - before)

    async with site.supervisor() as supervisor, anyio.create_task_group() as group:
        group.start_soon(watch)
        run = await supervisor.launch(spec)
        ended = await run.wait()
        group.cancel_scope.cancel()
        path = supervisor.log_path(spec.workload_id)
        sizes = [file.stat().st_size for file in path.parent.glob("output.log*")]
        assert len(sizes) == 3
        assert max(sizes) <= 1_000_000
        assert sum(sizes) > 2_000_000
        lines = tail(path, 100_000, 10_000_000)
        assert lines[-1] == "last"
        numbers = [int(line) for line in lines[:-1]]
        assert numbers == list(range(3_000_000 - len(numbers) + 1, 3_000_001))
    assert ended.exit_code == 0
    assert ended.log_dropped_bytes == 0
    assert sorted(stalls)[len(stalls) // 2] < 0.05


async def test_the_end_of_the_output_is_never_cut(site: Site) -> None:
    # 60,000 bytes fit into the pipe at once: the command is gone before they are read.
    async with site.supervisor() as supervisor:
        for _ in range(10):
            spec = site.spec("head", "-c", "60000", "/dev/zero")
            await (await supervisor.launch(spec)).wait()
            assert supervisor.log_path(spec.workload_id).stat().st_size == 60_000


async def test_follow_sees_everything_across_rotations(site: Site) -> None:
    script = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo line $i; done; sleep 0.3; echo end"
    spec = replace(site.script(script), log_max_bytes=8192, log_files=20)
    received = b""
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(spec)
        path = supervisor.log_path(spec.workload_id)
        async for chunk in follow(path, 100_000, lambda: run.exit is not None):
            received += chunk
    lines = received.decode().splitlines()
    assert lines == [*(f"line {number}" for number in range(1, 2001)), "end"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a tiny file system")
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tiny file system: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


async def test_a_full_disk_neither_stalls_nor_kills_nor_loses_the_end(
    site: Site, tiny_disk: Path
) -> None:
    site.root = tiny_disk / "runs"
    site.refresh()
    spec = site.spec("sh", "-c", "head -c 3000000 /dev/zero; exit 5")
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(spec)
        with anyio.fail_after(20):
            ended = await run.wait()
        assert (ended.exit_code, ended.signal) == (5, None)
        assert ended.log_dropped_bytes > 2_000_000
        log = supervisor.log_path(spec.workload_id)
        assert ended.log_dropped_bytes + log.stat().st_size == 3_000_000


async def test_a_silent_command_that_closed_its_output_costs_no_cpu(site: Site) -> None:
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(site.script("exec >/dev/null 2>&1; sleep 60"))
        stat = Path(f"/proc/{run.shim_pid}/stat")
        await until(lambda: run.usage().processes == 2)

        def ticks() -> int:
            return sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13]))

        before = ticks()
        await anyio.sleep(0.5)
        assert ticks() - before <= 2
        await run.stop()
        await run.wait()
