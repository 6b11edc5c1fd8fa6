"""Run the chaos tool as its users do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SEED = 1
KILLS = 50


def run_tool(root: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of `python -m tools.chaos`."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.chaos", *arguments, "--root", str(root)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    sys.stdout.write(done.stdout)
    return done.returncode, done.stdout
