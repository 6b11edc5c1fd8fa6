"""Agents and engines killed at random under load lose, double and leave no container.

CNET_TEST_CONTAINER_KILLS=100 for more.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tools.chaos import system
from tools.chaos.planted import CONTAINER_BUGS

from tests.chaos.tool import REPOSITORY
from tests.support.agents import wait_until
from tests.support.engine import missing

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(missing() is not None, reason=f"no engine here: {missing()}"),
]

KILLS = int(os.environ.get("CNET_TEST_CONTAINER_KILLS", "12"))
SEED = 5
CAUGHT_AS = {
    "no_attach": {"orphan", "status", "touched", "log", "doubled"},
    "copied_again": {"log"},
    "sweeps_others": {"foreign"},
}
"""Bug → the invariants it breaks; which of them is met first is chance."""


def tool(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tools.container_kills", "--seed", str(SEED), *arguments]


def run_tool(root: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of `python -m tools.container_kills`."""
    done = subprocess.run(
        tool("--root", str(root), *arguments),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    sys.stdout.write(done.stdout)
    return done.returncode, done.stdout


@pytest.mark.timeout(300 + 20 * KILLS)
def test_nothing_is_lost_orphaned_or_doubled(tmp_path: Path) -> None:
    restarts = max(1, KILLS // 20)
    code, output = run_tool(tmp_path, "--kills", str(KILLS), "--engine-restarts", str(restarts))
    assert code == 0, output
    summary = re.search(
        r"(\d+) kills, (\d+) engine restarts, (\d+) operations, (\d+) runs, (\d+) checks", output
    )
    assert summary is not None
    kills, restarted, operations, runs, checks = map(int, summary.groups())
    assert kills >= KILLS
    assert restarted == restarts
    assert operations > 2 * KILLS
    assert runs > KILLS // 2
    assert checks >= 2


def test_every_planted_bug_is_tried() -> None:
    assert CAUGHT_AS.keys() == CONTAINER_BUGS.keys()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", sorted(CAUGHT_AS))
def test_a_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    code, output = run_tool(tmp_path, "--kills", "30", "--engine-restarts", "0", "--plant", bug)
    assert code == 1, output
    found = re.search(r"^VIOLATION (\w+): ", output, re.MULTILINE)
    assert found is not None, output
    assert found.group(1) in CAUGHT_AS[bug]
    assert f"--plant {bug}" in output


@pytest.mark.timeout(300)
def test_ended_from_outside_it_leaves_nothing() -> None:
    """Neither an engine nor an agent, nor what these have started."""
    with TemporaryDirectory(prefix="cnet-t-", dir="/tmp") as folder:  # sockets: a short path
        process = subprocess.Popen(
            tool("--kills", "1000"), cwd=REPOSITORY, env={**os.environ, "TMPDIR": folder}
        )
        try:
            wait_until(
                lambda: process.poll() is not None or bool(_containers(folder)),
                what="no container was started",
            )
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 128 + signal.SIGTERM
        finally:
            process.kill()
            process.wait()
        assert system.mentioning(folder) == []
        assert list(Path(folder).iterdir()) == []


def _containers(folder: str) -> list[Path]:
    """Witness files that some container has written to."""
    return [path for path in Path(folder).glob("*/*/witness") if path.stat().st_size]
