"""Agents killed amid uploads, changes and deletions leave whole objects, and nothing else.

CNET_TEST_DATA_KILLS=200 for more.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tools.chaos.planted import DATA_BUGS

from tests.chaos.tool import REPOSITORY

pytestmark = [pytest.mark.chaos]

KILLS = int(os.environ.get("CNET_TEST_DATA_KILLS", "40"))
SEED = 4
CAUGHT_AS = {
    "visible_in_steps": {"half"},
    "no_sweep_of_objects": {"unrecorded", "resurrected", "left_over", "quota"},
    "no_sweep_of_bytes": {"left_over"},
    "stop_before_the_wish": {"unrecorded"},
}
"""Bug → the invariants it breaks; which of them is met first is chance."""


def run_tool(root: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of `python -m tools.data_kills`."""
    argv = [sys.executable, "-m", "tools.data_kills", "--seed", str(SEED), "--root", str(root)]
    done = subprocess.run(
        [*argv, *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    sys.stdout.write(done.stdout)
    return done.returncode, done.stdout


@pytest.mark.timeout(60 + 10 * KILLS)
def test_nothing_half_is_left(tmp_path: Path) -> None:
    code, output = run_tool(tmp_path, "--kills", str(KILLS))
    assert code == 0, output
    summary = re.search(
        r"(\d+) kills \((\d+) operations cut off\).* (\d+) operations, (\d+) reads, (\d+) checks",
        output,
    )
    assert summary is not None
    kills, cut_off, operations, reads, checks = map(int, summary.groups())
    assert kills >= KILLS
    assert cut_off >= KILLS
    assert operations > KILLS
    assert reads > KILLS // 10
    assert checks >= KILLS // 5


def test_every_planted_bug_is_tried() -> None:
    assert CAUGHT_AS.keys() == DATA_BUGS.keys()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", sorted(CAUGHT_AS))
def test_a_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    code, output = run_tool(tmp_path, "--kills", "200", "--plant", bug)
    assert code == 1, output
    found = re.findall(r"^VIOLATION (\w+): ", output, re.MULTILINE)
    assert found, output
    assert set(found) & CAUGHT_AS[bug], output
    assert f"--plant {bug}" in output
