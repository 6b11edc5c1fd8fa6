"""A real agent process to measure, with a temporary data directory."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psutil


@dataclass(frozen=True, slots=True)
class RunningAgent:
    """Where it answers, and its process."""

    url: str
    pid: int
    start_s: float
    """from exec to the first healthy answer"""
    data_dir: Path


_folders = ExitStack()
atexit.register(_folders.close)


def _new_folder() -> Path:
    """Removed when the program ends and not before: on ext4, making files is several times slower
    for minutes after thousands were deleted (`recently_deleted` in fs/ext4/ialloc.c)."""
    return Path(_folders.enter_context(tempfile.TemporaryDirectory(prefix="cnet-bench-")))


@contextmanager
def running_agent(
    *options: str, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[RunningAgent]:
    """Start an agent, and at the end stop it with all its workloads.

    `settings` are environment variables for it.
    """
    folder = _new_folder()
    url_file = folder / "url"
    data_dir = folder / "data"
    command = [
        sys.executable, "-m", "cnet", "agent", "--port", "0", "--data-dir", str(data_dir),
        "--url-file", str(url_file), "--log-level", "error", *options,
    ]  # fmt: skip
    environment = {
        **os.environ,
        "CNET_AGENT__STOP_WORKLOADS_ON_EXIT": "true",
        "CNET_RESOURCES__CPU": "1000",
        **settings,
    }
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    url = _first_answer(process, url_file)
    start_s = time.perf_counter() - started
    try:
        yield RunningAgent(url, process.pid, start_s, data_dir)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _first_answer(process: subprocess.Popen[bytes], url_file: Path) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        if url_file.exists() and (url := url_file.read_text().strip()):
            with urllib.request.urlopen(f"{url}/api/health", timeout=5) as answer:
                answer.read()
            return url
        time.sleep(0.002)
    raise RuntimeError(f"the agent did not start (exit status {process.poll()})")


def memory(pid: int) -> tuple[float, float, float]:
    """(RSS, PSS, USS) of a process in MB."""
    full = psutil.Process(pid).memory_full_info()
    return full.rss / 1e6, full.pss / 1e6, full.uss / 1e6
