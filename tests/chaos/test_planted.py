"""The chaos tool finds bugs that were put into the agent; without them the same seed passes.

(That it passes is `test_random_kills`.)
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tools.chaos.planted import BUGS
from tools.chaos.power_cut import why_not

from tests.chaos.tool import KILLS, SEED, run_tool

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

CAUGHT_AS = {
    "no_fsync": {"durability"},
    "record_after_spawn": {"unrecorded", "doubled"},
    # Besides the sum: a restart finds its own room taken, and what waits for room never gets it.
    "forgotten_release": {"quota", "answer", "starved"},
    "pid_without_start_time": {"dead_pid", "bystander"},
    "killpg_only": {"orphan", "doubled"},
}
"""Bug → the invariants it breaks; which of them is met first is chance."""


def test_every_planted_bug_is_tried() -> None:
    assert CAUGHT_AS.keys() == BUGS.keys()


@pytest.mark.parametrize("bug", sorted(CAUGHT_AS))
def test_a_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    if bug == "no_fsync" and (reason := why_not()) is not None:
        pytest.skip(f"only a power cut shows it, and none can be made here: {reason}")
    arguments = ["--seed", str(SEED), "--kills", str(KILLS), "--plant", bug]
    code, output = run_tool(tmp_path, *arguments)
    assert code == 1, output
    found = re.search(r"^VIOLATION (\w+): ", output, re.MULTILINE)
    assert found is not None, output
    assert found.group(1) in CAUGHT_AS[bug]
    assert f"python -m tools.chaos --seed {SEED}" in output
    assert f"--plant {bug}" in output
