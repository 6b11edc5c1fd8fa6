"""Loads every ONNX file of a folder, each in a forked child, and says how each child ended.

Run as a program (`python -m tests.inference.load_models FOLDER`): pytest's own process has
threads and must not fork. Prints one JSON object: file name → exit code, negative for a signal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cnet.errors import CnetError
from cnet.inference.yolo.runtime import YoloRuntime

LOADED, REFUSED, UNEXPECTED = 0, 2, 70
TIMEOUT_S = 20  # a child that takes longer is ended by SIGALRM


def try_model(path: Path) -> int:
    """Load one file and detect with it, as the program does."""
    try:
        runtime = YoloRuntime.load(path)
        runtime.detect(np.full((50, 80, 3), 127, np.uint8), confidence=0.01)
    except CnetError:
        return REFUSED
    except Exception:  # noqa: BLE001  whatever is raised counts against the runtime
        traceback.print_exc()
        return UNEXPECTED
    return LOADED


def start_child(path: Path) -> int:
    """The pid of a child that tries `path` and exits with the result."""
    child = os.fork()
    if child == 0:
        signal.alarm(TIMEOUT_S)
        os._exit(try_model(path))
    return child


def in_children(paths: Iterable[Path], *, at_once: int) -> dict[str, int]:
    """The exit code of a child for each."""
    ended: dict[str, int] = {}
    running: dict[int, Path] = {}

    def reap() -> None:
        pid, status = os.wait()
        ended[running.pop(pid).name] = os.waitstatus_to_exitcode(status)

    for path in paths:
        if len(running) == at_once:
            reap()
        running[start_child(path)] = path
    while running:
        reap()
    return ended


if __name__ == "__main__":
    models = sorted(Path(sys.argv[1]).glob("*.onnx"))
    print(json.dumps(in_children(models, at_once=os.cpu_count() or 1)))
