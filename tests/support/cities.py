"""The four cities of `configs`, each a real agent on a free port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cnet.cli.local import LocalCluster, free_ports, read_members
from tests.support.agents import wait_until

ROOT = Path(__file__).parents[2]
NAMES = ("jiangsu", "nanjing", "suqian", "changzhou")


@dataclass(frozen=True)
class Cities:
    folder: Path
    urls: dict[str, str]


@contextmanager
def running_cities(folder: Path) -> Iterator[Cities]:
    """Up within the block; at its end nothing of them may be left."""
    cluster = LocalCluster(folder)
    ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
    members = read_members(ROOT / "configs", data_dir=folder / "data", ports=ports)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(folder / "xdg"))
        patch.setenv("DOCKER_HOST", f"unix://{folder}/none")  # an engine of the machine is not ours
        cluster.up(members, told=print)
        try:
            yield Cities(
                folder, {each.process.node_id: each.process.url for each in cluster.status()}
            )
        finally:
            cluster.down(keep_workloads=False, told=print)
    wait_until(lambda: not processes_in(folder), what=lambda: "\n".join(processes_in(folder)))


def processes_in(folder: Path) -> list[str]:
    """Command lines of living processes that name the folder."""
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            lines.append(" ".join(words))
    return [line for line in lines if str(folder) in line]
