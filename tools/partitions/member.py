"""A real agent on a host of the network: start, kill, pause, and ask from where it stands."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from tools.chaos.agent import REPOSITORY, UnansweredError
from tools.chaos.model import InvariantError

PORT = 8080
START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 5.0
STILL_S = 0.005

JsonObject = dict[str, Any]


class Place(Protocol):
    """Where an agent runs and how to reach it there."""

    def entering(self, host: str) -> list[str]:
        """Words before a command that put it there."""

    def connect(self, host: str, port: int, *, timeout_s: float) -> Any:
        """A connected socket. Raises OSError."""


@dataclass
class Member:
    """One agent; `config` is its configuration by section."""

    name: str
    folder: Path
    place: Place
    config: JsonObject
    token: str
    process: subprocess.Popen[bytes] | None = None
    paused: bool = False
    start_seconds: list[float] = field(default_factory=list)

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def runs(self) -> bool:
        """Whether its process is there; paused counts."""
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> str:
        path = self.folder / "agent.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def launch(self) -> None:
        """Start it without waiting for anything."""
        self.folder.mkdir(parents=True, exist_ok=True)
        token_file = self.folder / "token"
        token_file.touch(mode=0o600)
        token_file.write_text(self.token)
        config = self.folder / "config.yaml"
        config.write_text(yaml.safe_dump(self._whole_config(token_file)))
        environment = {
            name: text for name, text in os.environ.items() if not name.startswith("CNET_")
        }
        argv = [*self.place.entering(self.name), sys.executable, "-m", "cnet.agent"]
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*argv, f"--config={config}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                env=environment,
                start_new_session=True,
            )

    def _whole_config(self, token_file: Path) -> JsonObject:
        agent = {
            "node_id": self.name,
            "address": "0.0.0.0",
            "port": PORT,
            "data_dir": str(self.data_dir),
            "auth": {"token_file": str(token_file)},
        } | self.config.get("agent", {})
        return {"logging": {"format": "text"}} | self.config | {"agent": agent}

    def start(self) -> float:
        """Start it and wait until it is healthy; the seconds that took."""
        began = time.monotonic()
        self.launch()
        self.await_health()
        took = time.monotonic() - began
        self.start_seconds.append(took)
        return took

    def await_health(self) -> None:
        """Raises InvariantError `start` when it ends or is not healthy for long."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_healthy():
            if not self.runs:
                raise InvariantError("start", f"{self.name} does not start:\n{self.log[-3000:]}")
            if time.monotonic() > deadline:
                raise InvariantError(
                    "start", f"{self.name} is not healthy for {START_TIMEOUT_S:g} s"
                )
            time.sleep(STILL_S)

    def _is_healthy(self) -> bool:
        try:
            return self.call("GET", "/api/health")[0] == 200
        except UnansweredError:
            return False

    def kill(self) -> None:
        """SIGKILL to the agent alone; returns when it is gone. Its workloads live on."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.paused = False

    def terminate(self) -> int:
        """SIGTERM to the agent alone; its exit code."""
        if self.process is None:
            raise RuntimeError("not started")
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=START_TIMEOUT_S)

    def pause(self) -> None:
        """Freeze the agent alone."""
        if self.process is not None and self.runs:
            self.process.send_signal(signal.SIGSTOP)
            self.paused = True

    def resume(self) -> None:
        """The opposite."""
        if self.process is not None and self.paused:
            self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def require_alive(self) -> None:
        """Raises InvariantError `crash` when it has ended by itself."""
        if self.process is not None and (code := self.process.poll()) is not None:
            raise InvariantError(
                "crash", f"{self.name} ended by itself with {code}:\n{self.log[-3000:]}"
            )

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> tuple[int, JsonObject]:
        """Status and JSON of one request on a fresh connection. Raises UnansweredError."""
        connection = _Connection(
            lambda: self.place.connect(self.name, PORT, timeout_s=timeout_s), timeout_s
        )
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            data = None
            if body is not None:
                data = json.dumps(body).encode()
                headers["Content-Type"] = "application/json"
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UnansweredError(f"{self.name}: {method} {path}: {error!r}") from error
        finally:
            connection.close()

    def get(self, path: str) -> JsonObject:
        """The JSON of a GET that must succeed. Raises UnansweredError, InvariantError `answer`."""
        status, answer = self.call("GET", path)
        if status != 200:
            raise InvariantError(
                "answer", f"{self.name}: GET {path} was answered {status} {answer}"
            )
        return answer

    def workloads(self) -> dict[str, JsonObject]:
        """Every workload it knows, by id."""
        found: dict[str, JsonObject] = {}
        path = "/api/workloads?limit=1000"
        while True:
            page = self.get(path)
            found |= {item["id"]: item for item in page["workloads"]}
            if page["next_cursor"] is None:
                return found
            path = f"/api/workloads?limit=1000&cursor={page['next_cursor']}"

    def nodes(self) -> dict[str, JsonObject]:
        """Its view: every node it knows, by name."""
        return {item["node_id"]: item for item in self.get("/api/nodes")["nodes"]}

    def used(self) -> dict[str, int]:
        """The quota in use in exact units: millicores and bytes."""
        return exact(self.get("/api/resources")["resources"]["used"])


def exact(resources: JsonObject) -> dict[str, int]:
    """Resources of the wire in millicores and bytes."""
    return {
        "cpu": round(float(resources.get("cpu", 0)) * 1000),
        "memory": int(resources.get("memory", 0)),
        "storage": int(resources.get("storage", 0)),
    }


class _Connection(http.client.HTTPConnection):
    """Over a socket that somebody else connects."""

    def __init__(self, connect: Callable[[], Any], timeout_s: float) -> None:
        super().__init__("localhost", PORT, timeout=timeout_s)
        self._connect = connect

    def connect(self) -> None:
        self.sock = self._connect()
