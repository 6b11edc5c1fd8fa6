"""Every test gets a root of its own and must leave no process and no control group."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.supervision.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A Site; the test fails if it leaves a process or a control group behind."""
    place = Site(tmp_path / "runs")
    yield place
    left = place.pids()
    groups = place.cgroups.run_directories()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    place.cgroups.remove_bases()
    assert left == []
    assert groups == {}
