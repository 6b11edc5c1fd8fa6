"""What tests of recovery look at besides the agent's own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tools.chaos.system import Process, incarnation

from tests.support.agents import AgentProcess


def shim_records(agent: AgentProcess) -> dict[str, dict[str, Any]]:
    """Workload id → `shim.json` of its newest attempt."""
    found: dict[str, dict[str, Any]] = {}
    folders = (agent.data_dir / "runs").glob("*/*/shim.json")
    for path in sorted(folders, key=lambda path: int(path.parent.name)):
        found[path.parents[1].name] = json.loads(path.read_text())
    return found


def watched_pids(pid: int) -> set[int]:
    """The processes that `pid` holds a pidfd of."""
    watched: set[int] = set()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        watched.update(int(line.split()[1]) for line in lines if line.startswith("Pid:"))
    return watched


def process_of(workload: dict[str, Any]) -> Process:
    """The main process of a running workload, with its start time."""
    process = incarnation(workload["process_pid"])
    assert process is not None, f"{workload['name']} is said to run as {workload['process_pid']}"
    return process


def listed(agent: AgentProcess) -> dict[str, dict[str, Any]]:
    """Every workload by id."""
    return {item["id"]: item for item in agent.client.list()}
