"""The project's own evaluation scripts, on fewer pictures than docs/benchmarks.md quotes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "examples/ml_models/shapes_yolo.onnx"


def evaluate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )


def test_the_committed_detector_reaches_its_figure() -> None:
    script = "examples/ml_models/evaluate_shapes.py"
    options = ("--model", str(MODEL), "--pictures", "120", "--min-map50")
    good = evaluate(script, *options, "0.9")
    assert good.returncode == 0, good.stdout + good.stderr
    assert "mAP50" in good.stdout
    impossible = evaluate(script, *options, "1.0")
    assert impossible.returncode == 1, "a missed figure must be a failure"


def test_the_model_is_small_enough_to_commit() -> None:
    assert MODEL.stat().st_size <= 3 * 1024 * 1024
