"""These tests need network namespaces; where none can be made, all of them are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.partitions.evidence import Evidence
from tools.partitions.network import why_not
from tools.partitions.topology import Edge, Host, Topology
from tools.partitions.world import World

LEASE_S = 3.0
FAMILY = Topology(
    hosts=(Host("root", 4), Host("child", 4, inbound=False), Host("other", 4)),
    edges=(Edge("child", "root"), Edge("other", "root")),
)


@pytest.fixture(scope="session", autouse=True)
def _network_can_be_made() -> None:
    if (reason := why_not()) is not None:
        pytest.skip(f"no network can be made here: {reason}")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A root with two children, to one of which nobody can connect; all are linked."""
    settings = {"scheduler": {"lease_s": LEASE_S}}
    with World(FAMILY, tmp_path, settings=settings) as made:
        made.start()
        made.await_views()
        yield made


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    """What workloads write down themselves."""
    return Evidence(tmp_path / "evidence")
