"""The kernel's log tells of a kill for a memory limit, and of whose."""

from __future__ import annotations

import os
from pathlib import Path

from cnet.executors.container.oom import killed

MINE, OTHER = "a" * 64, "b" * 64
LINE = "6,1234,5678,-;oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/docker/{0},task=dd,pid=1\n"


def test_only_ones_own_counts(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_text(LINE.format(OTHER))
    assert not killed(MINE, str(log))
    log.write_text(LINE.format(MINE))
    assert killed(MINE, str(log))
    log.write_text(f"6,2,2,-;veth of {MINE} is up\n")
    assert not killed(MINE, str(log))


def test_no_log_says_nothing(tmp_path: Path) -> None:
    assert not killed(MINE, str(tmp_path / "missing"))
    assert not killed(MINE, str(tmp_path))
    os.mkfifo(tmp_path / "silent")
    assert not killed(MINE, str(tmp_path / "silent"))
