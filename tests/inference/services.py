"""Start and end the real program, and wait for what it does rather than for time to pass."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

READY_WITHIN_S = 120.0
PHOTOGRAPH = Path(__file__).parents[2] / "examples" / "assets" / "astronaut.jpg"


@dataclass
class Service:
    """A running `cnet-inference`, with a client for it."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def running(
    folder: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    python: Path | str = sys.executable,
    within_s: float = READY_WITHIN_S,
) -> Iterator[Service]:
    """The program on a free port, ready; killed at the end whatever has happened."""
    log = folder / f"service-{time.monotonic_ns()}.txt"
    command = [str(python), "-m", "cnet.inference", *arguments]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stderr=stream, env={**os.environ, **(environment or {})}
        )
    try:
        base = _wait_until_ready(process, log, within_s)
        with httpx.Client(base_url=base, timeout=READY_WITHIN_S) as client:
            yield Service(process, client, log)
    finally:
        process.kill()
        process.wait()


def run_to_end(
    *arguments: str,
    timeout_s: float = 120,
    environment: Mapping[str, str] | None = None,
    python: Path | str = sys.executable,
) -> subprocess.CompletedProcess[str]:
    """The program's exit code and stderr where it is expected to end by itself."""
    command = [str(python), "-m", "cnet.inference", *arguments]
    variables = {**os.environ, **(environment or {})}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, check=False, env=variables
    )


def base64_of(content: bytes) -> str:
    """As the seeds send pictures."""
    return base64.b64encode(content).decode()


def wait_for(condition: object, *, within_s: float = 60.0) -> None:
    """Poll `condition()` until it is true; fails after `within_s` seconds."""
    assert callable(condition)
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not true within {within_s} s"
        time.sleep(0.01)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path, within_s: float) -> str:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        said = log.read_text()
        assert process.poll() is None, f"ended with {process.returncode}: {said}"
        found = re.search(r"listening on (http://\S+)", said)
        if found is not None:
            base = found.group(1)
            assert httpx.get(f"{base}/health", timeout=READY_WITHIN_S).status_code == 200
            return base
        time.sleep(0.005)
    raise AssertionError(f"not ready within {within_s} s: {log.read_text()}")
