"""The demo does what it says, and leaves nothing behind when it is interrupted or fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.agents import wait_until

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """The demo in a folder of its own, with its temporary folder below `tmp_path`."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CNET_")}
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    return subprocess.Popen(
        [sys.executable, "-u", str(DEMO), *arguments],
        cwd=tmp_path,
        env=environ | {"TMPDIR": str(temporary), "XDG_CONFIG_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def left_behind(tmp_path: Path) -> list[str]:
    """Command lines that name the demo's temporary folder, and what is in it."""
    temporary = tmp_path / "temporary"
    lines = [
        " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])
    ]
    found = [line for line in lines if str(temporary) in line]
    return found + [str(path) for path in temporary.iterdir()]


def test_demo_finds_everything_and_leaves_nothing(tmp_path: Path) -> None:
    process = start(tmp_path)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, out + err
    photograph = next(line for line in out.splitlines() if line.startswith("astronaut.jpg"))
    assert photograph.split()[1:5] == ["1", "face", "1", "face"]
    assert out.count(" ok\n") == 6
    assert "faces   given to jiangsu, ready on jiangsu" in out
    assert "shapes_yolo.onnx is data://shapes on jiangsu" in out
    assert "shapes  given to jiangsu, ready on nanjing" in out
    assert "└── nanjing" in out
    assert "completed on suqian; its log: six times seven is 42" in out
    assert "after:  nothing is held on changzhou, jiangsu, nanjing, suqian" in out
    assert (tmp_path / "demo-output" / "astronaut.png").stat().st_size > 10_000
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("moment", ["agent    nanjing", "cluster  all", "deploy   shapes"])
def test_interrupted_demo_leaves_nothing(tmp_path: Path, moment: str) -> None:
    process = start(tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(moment):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert left_behind(tmp_path) == []


def test_kept_demo_stays_until_it_is_told_to_end(tmp_path: Path) -> None:
    process = start(tmp_path, "--keep")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, out + err
    folder = out.partition("cluster down --dir ")[2].partition(";")[0]
    down = [sys.executable, "-m", "cnet", "cluster", "down", "--dir", folder]
    try:
        assert len(left_behind(tmp_path)) > 4
    finally:
        done = subprocess.run(down, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: left_behind(tmp_path) == [folder], what=lambda: str(left_behind(tmp_path)))
