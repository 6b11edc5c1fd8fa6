"""The agent under test as a process, its data directory, and a small HTTP client for it.

The client is not the product's: it retries nothing, and tells an unanswered request from an
answered one.
"""

from __future__ import annotations

import glob
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.chaos import system
from tools.chaos.model import InvariantError
from tools.chaos.system import Process

REPOSITORY = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 45.0
WITHOUT_ENGINE = {"CNET_DOCKER__ENABLED": "false"}
"""An engine of the machine is not the tool's to use."""
CAPACITY = {"cpu": 6, "gpu": 0, "memory": 4 * 1024**3, "storage": 10 * 1024**3}


class UnansweredError(Exception):
    """The connection ended before an answer came: the request may have been carried out."""


@dataclass
class AgentUnderTest:
    """Restartable; `plant` names a bug of `tools.chaos.planted` or is None."""

    folder: Path
    plant: str | None = None
    settings: Mapping[str, str] = field(default_factory=lambda: WITHOUT_ENGINE)
    """more variables of its environment"""
    process: subprocess.Popen[bytes] | None = None
    address: tuple[str, int] = ("127.0.0.1", 0)
    starts: int = 0
    start_seconds: list[float] = field(default_factory=list)

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def runs(self) -> Path:
        return self.data_dir / "runs"

    @property
    def log(self) -> str:
        path = self.folder / "agent.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def launch(self) -> None:
        """Start it without waiting for anything."""
        (self.folder / "url").unlink(missing_ok=True)
        planted = [] if self.plant is None else ["-m", "tools.chaos.planted", self.plant, "--"]
        argv = [sys.executable, *(planted or ["-m", "cnet"]), "agent", "--port", "0"]
        argv += ["--data-dir", str(self.data_dir), "--url-file", str(self.folder / "url")]
        argv += ["--log-format", "text", "--node-id", "chaos"]
        environment = {
            name: text for name, text in os.environ.items() if not name.startswith("CNET_")
        }
        environment |= {f"CNET_RESOURCES__{key}": str(value) for key, value in CAPACITY.items()}
        environment |= self.settings
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                env=environment,
                start_new_session=True,
            )
        self.starts += 1

    def start(self) -> float:
        """Start it and wait until it is healthy; the seconds that took."""
        began = time.monotonic()
        self.launch()
        url = self.folder / "url"
        while not (url.exists() and url.read_text().strip()):
            if self.process is None or self.process.poll() is not None:
                raise InvariantError("start", f"the agent does not start:\n{self.log[-3000:]}")
            if time.monotonic() - began > START_TIMEOUT_S:
                raise InvariantError(
                    "start", f"no URL after {START_TIMEOUT_S} s:\n{self.log[-3000:]}"
                )
            time.sleep(0.005)
        host, _, port = url.read_text().strip().removeprefix("http://").rpartition(":")
        self.address = (host, int(port))
        took = time.monotonic() - began
        self.start_seconds.append(took)
        return took

    def require_alive(self) -> None:
        """Raises InvariantError `crash` when it has ended by itself."""
        if self.process is not None and (code := self.process.poll()) is not None:
            raise InvariantError("crash", f"the agent ended by itself with {code}")

    def kill(self) -> None:
        """SIGKILL to the agent alone; returns when it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def terminate(self) -> int:
        """SIGTERM to the agent alone; its exit code."""
        if self.process is None:
            raise RuntimeError("not started")
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=ANSWER_TIMEOUT_S)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one request on a fresh connection. Raises UnansweredError."""
        connection = http.client.HTTPConnection(*self.address, timeout=ANSWER_TIMEOUT_S)
        try:
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request(
                method, path, None if body is None else json.dumps(body).encode(), headers
            )
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UnansweredError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()

    def workloads(self) -> dict[str, dict[str, Any]]:
        """Every workload by id."""
        found: dict[str, dict[str, Any]] = {}
        path = "/api/workloads?limit=1000"
        while True:
            _, page = self.call("GET", path)
            found |= {item["id"]: item for item in page["workloads"]}
            if page["next_cursor"] is None:
                return found
            path = f"/api/workloads?limit=1000&cursor={page['next_cursor']}"

    def used(self) -> dict[str, int]:
        """The quota in use in exact units: millicores and bytes."""
        _, answer = self.call("GET", "/api/resources")
        used = answer["resources"]["used"]
        return {
            "cpu": round(used["cpu"] * 1000),
            "memory": used["memory"],
            "storage": used["storage"],
        }

    def spawner(self) -> Process | None:
        """The fork server of the present agent."""
        if self.process is None:
            return None
        for process in system.mentioning(str(self.runs)):
            if system.parent(process.pid) == self.process.pid:
                return process
        return None

    def shims(self) -> list[tuple[str, Process, dict[str, Any]]]:
        """Living shims with the ids of their workloads and their records."""
        found = []
        # Not `Path.glob`, which breaks off when a folder goes while it looks.
        names = glob.glob("*/*/shim.json", root_dir=self.runs)  # noqa: PTH207
        for path in sorted(self.runs / name for name in names):
            try:
                record = json.loads(path.read_text())
            except (OSError, ValueError):
                continue
            shim = Process(record["shim_pid"], record["shim_start"])
            if shim.lives():
                found.append((path.parents[1].name, shim, record))
        return found
