"""Agents, spawners and shims killed at random under load: every invariant of the tool holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tools.chaos.power_cut import why_not

from tests.chaos.tool import KILLS, SEED, run_tool

pytestmark = pytest.mark.chaos


@pytest.mark.timeout(400)
def test_nothing_is_lost_doubled_leaked_or_orphaned(tmp_path: Path) -> None:
    code, output = run_tool(tmp_path, "--seed", str(SEED), "--kills", str(KILLS))
    assert code == 0, output
    summary = re.search(r"(\d+) kills, (\d+) restarts, (\d+) operations, (\d+) checks", output)
    assert summary is not None
    kills, restarts, operations, checks = map(int, summary.groups())
    assert kills >= KILLS
    assert restarts >= KILLS // 2
    assert operations > 5 * KILLS
    assert checks >= KILLS // 10


@pytest.mark.timeout(200)
@pytest.mark.skipif(why_not() is not None, reason=f"no power cuts here: {why_not()}")
def test_what_was_acknowledged_survives_a_power_cut(tmp_path: Path) -> None:
    code, output = run_tool(tmp_path, "--seed", str(SEED), "--power-cuts", "20")
    assert code == 0, output
    found = re.search(r"20 power cuts, (\d+) operations acknowledged", output)
    assert found is not None
    assert int(found.group(1)) > 100
