"""One real agent per test module, and `cnet` called against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cnet.cli.main import main
from tests.support.agents import AgentProcess, start_agent


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.split("\n") if line]


Cnet = Callable[..., Result]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    running = start_agent(
        tmp_path_factory.mktemp("agent"),
        resources={"cpu": 4, "gpu": 0, "memory": 8 * 1024**3, "storage": 20 * 1024**3},
        agent={"node_id": "here"},
    )
    yield running
    running.stop()


@pytest.fixture
def cnet(
    agent: AgentProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Cnet:
    """`cnet(*arguments)` in this process, talking to `agent`."""
    for name in list(os.environ):
        if name.startswith("CNET_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CNET_AGENT", agent.url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def call(*arguments: str) -> Result:
        capfdbinary.readouterr()
        code = main(arguments)
        out, err = capfdbinary.readouterr()
        return Result(code, out.decode(), err.decode())

    return call


@pytest.fixture
def started(agent: AgentProcess, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`started(*arguments)`: `cnet` as a process of its own, ended with the test."""
    processes: list[subprocess.Popen[str]] = []
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CNET_")}
    environ |= {"CNET_AGENT": agent.url, "XDG_CONFIG_HOME": str(tmp_path)}

    def start(*arguments: str, **more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "cnet", *arguments],
            env=environ | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()
