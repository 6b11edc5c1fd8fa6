"""Killed, or without power, at any moment: what was acknowledged is there, and nothing half."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import anyio
import pytest
from tools.chaos.power_cut import copy_untouched, mounted, why_not
from tools.data_kills.inspection import blobs_of, faults

from cnet.storage import open_store
from tests.contracts.storage import body
from tests.storage.working import compare, working

KILLS = 30
CUTS = 50
IMAGE_BYTES = 96 * 1024 * 1024

pytestmark = pytest.mark.timeout(400)


@pytest.mark.chaos
def test_kills(tmp_path: Path) -> None:
    rng = random.Random(4)
    root = tmp_path / "data"
    acknowledged = leftovers = 0
    for number in range(KILLS):
        with working("load", str(root), str(number)) as worker:
            worker.wait_lines(rng.randint(2, 80))
            worker.kill()
        leftovers += bool(faults(root))
        anyio.run(compare, root, worker.ledger.allowed())
        acknowledged += worker.ledger.count
    assert acknowledged > KILLS
    assert leftovers > 0, "no kill has hit anything: the test shows nothing"


@pytest.mark.chaos
@pytest.mark.skipif(why_not() is not None, reason=f"no disk of one's own here: {why_not()}")
def test_power_cuts(tmp_path: Path) -> None:
    rng = random.Random(5)
    image, disk, copy = tmp_path / "disk.img", tmp_path / "disk", tmp_path / "cut.img"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    with mounted(image, disk) as device, working("load", str(disk / "data"), "7") as worker:
        lines = 1
        for _ in range(CUTS):
            worker.wait_lines(lines)
            with worker.standing_still() as said:
                copy_untouched(image, copy, device)
                stopped_at = worker.lines
            with mounted(copy, tmp_path / "cut"):
                anyio.run(compare, tmp_path / "cut" / "data", said.allowed())
            lines = stopped_at + rng.randint(1, 40)
        assert worker.ledger.count > CUTS


def test_a_dead_upload_is_swept_and_a_live_one_is_not(tmp_path: Path) -> None:
    root = tmp_path / "data"

    async def sweep() -> int:
        async with open_store(root) as store:
            return await store.sweep()

    with working("hang", str(root)) as worker:
        worker.wait_lines(1)
        assert anyio.run(sweep) == 0
        assert len(blobs_of(root)) == 1
        worker.kill()
    assert anyio.run(sweep) == 1
    assert faults(root) == []
    assert blobs_of(root) == {}


@pytest.mark.chaos
def test_sweeps_beside_a_writer(tmp_path: Path) -> None:
    """A sweep may take what the writer was about to remove, and nothing it needs."""
    root = tmp_path / "data"

    async def sweeps() -> None:
        async with open_store(root) as store:
            while worker.lines < 600:
                assert worker.process.poll() is None, "a sweep has broken the writer's operation"
                await store.sweep()

    with working("load", str(root), "11") as worker:
        worker.wait_lines(1)
        anyio.run(sweeps)
        worker.kill()
    anyio.run(compare, root, worker.ledger.allowed())


def test_processes_at_once(tmp_path: Path) -> None:
    """Two processes add to one counter, each by reading it and putting it anew."""
    root = tmp_path / "data"

    async def start() -> None:
        async with open_store(root) as store:
            await store.put("cnet", "counter", body())

    async def total() -> int:
        async with open_store(root) as store:
            return (await store.stat("cnet", "counter")).size

    anyio.run(start)
    with working("count", str(root), "40") as one, working("count", str(root), "40") as two:
        assert one.finish() == 0
        assert two.finish() == 0
    assert anyio.run(total) == 80
    assert faults(root) == []
