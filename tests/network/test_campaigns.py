"""Random faults under load, and a leaf that is cut off and killed: every invariant holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tools.partitions import __main__ as tool
from tools.partitions.cut_off import WORKLOADS, CutOff

pytestmark = pytest.mark.chaos

FAULTS = 16
CONVERGE_S = 30.0
"""Not the goal, which is for a machine that does nothing else: a bound against never."""


@pytest.mark.timeout(600)
def test_nothing_is_lost_doubled_or_left_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"--seed 1 --faults {FAULTS} --converge-s {CONVERGE_S} --root {tmp_path}"
    code = tool.main(words.split())
    output = capsys.readouterr().out
    print(output)
    assert code == 0, output
    summary = re.search(r"(\d+) faults, (\d+) rounds, (\d+) operations", output)
    assert summary is not None
    faults, rounds, operations = map(int, summary.groups())
    assert faults == FAULTS
    assert rounds >= FAULTS // 6
    assert operations > 5 * FAULTS


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_leaf_that_is_cut_off_and_killed_keeps_everything(tmp_path: Path, seed: int) -> None:
    figures = CutOff(seed, tmp_path).run()
    print(f"{WORKLOADS} workloads re-attached after {figures.reattached} s")
    assert figures.reattached
