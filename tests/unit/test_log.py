"""A log that cannot be written must not end the agent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import logging, sys, structlog
from cnet._support import log
log.configure("info", sys.argv[1])
for _ in range(1000):
    structlog.get_logger("x").warning("something_happened", n=1)
    logging.getLogger("y").warning("from the standard library")
print("still here")
"""


def logged(form: str, stderr: Path) -> str:
    with stderr.open("w") as stream:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, form],
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            check=False,
        )
    return done.stdout


def test_a_full_disk_under_the_log_is_survived() -> None:
    assert "still here" in logged("json", Path("/dev/full"))
    assert "still here" in logged("text", Path("/dev/full"))


def test_lines_arrive_where_there_is_room(tmp_path: Path) -> None:
    target = tmp_path / "log"
    logged("json", target)
    lines = target.read_text().splitlines()
    assert len(lines) == 2000
    assert '"event": "something_happened"' in lines[0]
    assert '"event": "from the standard library"' in lines[1]
