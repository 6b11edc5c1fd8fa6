"""A data directory on a disk that is full to the last block: refused, not lost, and not fatal."""

from __future__ import annotations

import errno
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.chaos.power_cut import mounted, why_not
from tools.chaos.system import incarnation

from cnet.errors import StorageFullError
from tests.support.agents import AgentProcess, start_agent, wait_until

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(120),
    pytest.mark.skipif(why_not() is not None, reason=f"no disk of one's own here: {why_not()}"),
]

IMAGE_BYTES = 48 * 1024 * 1024
SLEEPER: dict[str, Any] = {
    "name": "sleeper",
    "type": "process",
    "requirements": {"cpu": 0.5},
    "config": {"command": "sleep", "args": ["100000"]},
    "stop_grace_s": 1,
}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent whose data directory, and nothing else, is on a disk of 48 MiB."""
    image, disk = tmp_path / "disk.img", tmp_path / "data"
    make_disk(image)
    with mounted(image, disk):
        agent = start_agent(
            tmp_path, resources={"cpu": 4, "gpu": 0, "memory": 2**30, "storage": 2**30}
        )
        try:
            yield agent
            empty(agent.data_dir)
            agent.stop()
        finally:
            agent.discard()


def test_full_disk_refuses_and_loses_nothing(small: AgentProcess) -> None:
    kept, again, third = (small.client.submit(SLEEPER) for _ in range(3))
    main, other = incarnation(kept["process_pid"]), incarnation(again["process_pid"])
    assert main is not None
    assert other is not None
    fill(small.data_dir)
    with pytest.raises(StorageFullError):
        small.client.submit(SLEEPER)
    small.client.delete(third["id"])  # what the ballast is for
    fill(small.data_dir)  # somebody else took the ballast's room
    small.kill()
    small.restart()
    assert main.lives()
    assert small.client.get(kept["id"])["process_pid"] == main.pid
    assert small.client.get(again["id"])["status"] == "running"
    # A next run must not be started before it is recorded, and must not be given up either.
    with pytest.raises(StorageFullError):
        small.client.restart(again["id"])
    wait_until(lambda: not other.lives())
    wait_until(lambda: bool(small.client.get(again["id"])["status"] == "pending"))
    empty(small.data_dir)
    restarted = small.client.wait_for(again["id"], until="running", timeout=30)
    assert restarted["attempt"] == 2
    assert small.client.submit(SLEEPER)["status"] == "running"


def make_disk(image: Path) -> None:
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], check=True)


def fill(folder: Path) -> None:
    """Write until not one more byte is taken."""
    with (folder / f"filler-{uuid.uuid4()}").open("wb", buffering=0) as file:
        for size in (65_536, 512, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC


def empty(folder: Path) -> None:
    for path in folder.glob("filler-*"):
        path.unlink()
