"""Real agent processes for tests: start, kill, restart, and stop with nothing left behind.

    agent = start_agent(tmp_path, resources={"cpu": 4})
    agent.client.submit({...})
    agent.kill()       # SIGKILL: workloads live on
    agent.restart()    # same data directory; the port is another one unless it was fixed
    agent.stop()       # deletes all workloads, ends the agent, fails if a process or quota is left

Every process of an agent (itself, spawner, shims, workloads) is recognised by a mark in its
environment, by its command line, or by files it holds open under the agent's data directory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from cnet.client import AgentClient

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 90.0
MARK = "CNET_TEST_AGENT"


@dataclass
class AgentProcess:
    """One agent and its folder; `folder` also keeps its log and configuration."""

    folder: Path
    config: dict[str, Any]
    environ: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    module: str = "cnet"
    """what Python runs as the agent's program"""
    mark: str = field(default_factory=lambda: str(uuid.uuid4()))
    process: subprocess.Popen[bytes] | None = None
    url: str = ""
    _client: AgentClient | None = None

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def log_file(self) -> Path:
        return self.folder / "agent.log"

    @property
    def url_file(self) -> Path:
        return self.folder / "url"

    @property
    def pid(self) -> int:
        assert self.process is not None, "the agent has not been started"
        return self.process.pid

    @property
    def client(self) -> AgentClient:
        """A client of this agent; a new one after each `restart`."""
        if self._client is None:
            self._client = AgentClient(self.url, self.token)
        return self._client

    def log(self) -> str:
        """Everything the agent has written to stdout and stderr so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def start(self) -> AgentProcess:
        """Start it and wait until it is healthy. Raises AssertionError with its log if not."""
        self.launch()
        return self.wait_healthy()

    def launch(self) -> None:
        """Start it; `wait_healthy` is due before anything is asked of it."""
        config_file = self.folder / "config.yaml"
        config_file.write_text(yaml.safe_dump(self.config))
        self.url_file.unlink(missing_ok=True)
        argv = [sys.executable, "-m", self.module, "agent", "--config", str(config_file)]
        argv += ["--data-dir", str(self.data_dir), "--url-file", str(self.url_file)]
        if "port" not in self.config.get("agent", {}):
            argv += ["--port", "0"]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environ | {MARK: self.mark},
                start_new_session=True,
            )

    def wait_healthy(self) -> AgentProcess:
        """Return once it is. Raises AssertionError with its log if it ends, or is late."""
        wait_until(self._started, timeout_s=START_TIMEOUT_S, what=self._why)
        self.url = self.url_file.read_text().strip()
        return self

    def _started(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self._why()
        return self.url_file.exists() and bool(self.url_file.read_text().strip())

    def _why(self) -> str:
        code = self.process.poll() if self.process is not None else None
        return f"the agent did not start (exit code {code}); its log:\n{self.log()[-4000:]}"

    def kill(self) -> None:
        """SIGKILL to the agent alone, and wait until it is gone; what it started lives on."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> int:
        """SIGTERM to the agent alone; its exit code. What it started lives on."""
        return self._signal(signal.SIGTERM)

    def restart(self) -> AgentProcess:
        """Start it again on the same data directory; ends it by SIGTERM first if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.terminate()
        self._drop_client()
        return self.start()

    def stop(self) -> None:
        """Delete all workloads, end the agent, and fail if quota or a process is left.

        Starts the agent again if it is dead, because only an agent can stop its workloads.
        Whatever is left is killed before the failure is reported, so no test harms the next.
        """
        try:
            if self.process is None or self.process.poll() is not None:
                self.restart()
            for service in self.client.services.list():
                if service["owner"] == self.client.health()["node_id"]:
                    self.client.services.delete(service["name"])
            for workload in self.client.list():
                self.client.delete(workload["id"])
            used = self.client.resources()["used"]
            assert self.terminate() == 0, self.log()[-4000:]
            wait_until(
                lambda: not self.processes(),
                timeout_s=STOP_TIMEOUT_S,
                what=lambda: f"left behind: {describe(self.processes())}",
            )
        finally:
            self.discard()
        assert not any(used.values()), f"quota still held after all workloads were deleted: {used}"

    def discard(self) -> None:
        """Kill everything of this agent at once, without any check."""
        self._drop_client()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        while left := self.processes():
            for process in left:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            psutil.wait_procs(left, timeout=1)

    def processes(self) -> list[psutil.Process]:
        """Everything alive that belongs to this agent, itself included; zombies do not count."""
        return [process for process in psutil.process_iter() if self._owns(process)]

    def _owns(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                return False
            if process.environ().get(MARK) == self.mark:
                return True
            inside = str(self.data_dir)
            if any(inside in word for word in process.cmdline()):
                return True
            return any(link.startswith(inside) for link in _open_paths(process.pid))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def _signal(self, number: signal.Signals) -> int:
        assert self.process is not None, "the agent has not been started"
        self._drop_client()
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=STOP_TIMEOUT_S)

    def _drop_client(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def start_agent(
    tmp_path: Path,
    *,
    environ: Mapping[str, str] | None = None,
    token: str | None = None,
    module: str = "cnet",
    **config: Any,
) -> AgentProcess:
    """Start an agent under `tmp_path` and wait until it is healthy.

    `config` is the agent's configuration by section (`resources={"cpu": 4}`,
    `agent={"labels": {…}}`); logs are text at level debug unless `logging` says otherwise.
    `environ` is added to this process's environment; XDG_CONFIG_HOME points into `tmp_path`, so
    that no token of the user is found. `module` is run in the place of `cnet`. Several agents need
    a `tmp_path` each.
    """
    agent = new_agent(tmp_path, environ=environ, token=token, module=module, **config)
    try:
        return agent.start()
    except BaseException:
        agent.discard()
        raise


def new_agent(
    tmp_path: Path,
    *,
    environ: Mapping[str, str] | None = None,
    token: str | None = None,
    module: str = "cnet",
    **config: Any,
) -> AgentProcess:
    """As `start_agent`, but leave its start to the caller."""
    config.setdefault("logging", {"level": "debug", "format": "text"})
    config.setdefault("docker", {"enabled": False})  # an engine of the machine is not ours
    base = {name: value for name, value in os.environ.items() if not name.startswith("CNET_")}
    base["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    return AgentProcess(
        folder=tmp_path,
        config=config,
        environ=base | dict(environ or {}),
        token=token,
        module=module,
    )


def wait_until(
    condition: Callable[[], bool],
    *,
    timeout_s: float = 60.0,
    what: Callable[[], str] | str = "condition",
) -> None:
    """Look at `condition` every 10 ms until it is true; AssertionError with `what` if it is late.

    For conditions nothing announces (files of another process, pids); waiting for a workload is
    `AgentClient.wait_for`.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            sentence = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {timeout_s:g} s: {sentence}")
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether `pid` runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def describe(processes: list[psutil.Process]) -> str:
    """One line per process: pid and command line."""
    lines = []
    for process in processes:
        try:
            lines.append(f"{process.pid}: {' '.join(process.cmdline())}")
        except psutil.Error:
            lines.append(f"{process.pid}: gone meanwhile")
    return "\n".join(lines)


def _open_paths(pid: int) -> Iterator[str]:
    """Working directory and open files, read from /proc; nothing where that is not allowed."""
    try:
        links = [Path(f"/proc/{pid}/cwd"), *Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return
    for link in links:
        try:
            yield str(link.readlink())
        except OSError:
            continue
