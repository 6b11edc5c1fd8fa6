"""Workloads that behave badly: too much memory, deaf to SIGTERM, a flood of output."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tools.chaos import system

from tests.support.agents import AgentProcess, start_agent, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

MIB = 1024 * 1024
LOG_BYTES, LOG_FILES = MIB, 3
LINES_PER_MS = 1_000
HEALTH_ANSWERS = 100


@pytest.fixture
def bounded(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent that keeps three log files of 1 MiB per workload."""
    agent = start_agent(
        tmp_path,
        resources={"cpu": 4, "gpu": 0, "memory": 8192 * MIB, "storage": 10**9},
        workload_logs={"max_bytes": LOG_BYTES, "files": LOG_FILES},
    )
    yield agent
    agent.stop()


def submit(agent: AgentProcess, *argv: str, **more: Any) -> dict[str, Any]:
    config = {"command": argv[0], "args": list(argv[1:]), **more.pop("config", {})}
    return agent.client.submit({"name": "bad", "type": "process", "config": config, **more})


@pytest.mark.parametrize("by_child", [False, True], ids=["by itself", "by a child"])
def test_memory_overrun_is_killed_and_named(agent: AgentProcess, by_child: bool) -> None:
    sleeper = submit(agent, "sleep", "1000", requirements={"memory": 64 * MIB})
    enforced = sleeper["limits"].get("memory", "")
    if not enforced.startswith("cgroup"):
        pytest.skip(f"no memory control group may be made here (limits: {sleeper['limits']})")
    eater = f'{sys.executable} -c "x = bytearray(512 * 1024 * 1024); print(len(x))"'
    script = f"{eater}; echo survived" if by_child else f"exec {eater}"
    workload = submit(agent, "sh", "-c", script, requirements={"memory": 64 * MIB})
    ended = agent.client.wait_for(workload["id"], timeout=30)
    assert ended["status_reason"] == "out_of_memory"
    assert "536870912" not in "".join(agent.client.logs(workload["id"])["logs"])
    if not by_child:
        assert ended["status"] == "failed"
        assert ended["exit_signal"] == "SIGKILL"
    assert agent.client.get(sleeper["id"])["status"] == "running"
    assert agent.client.resources()["used"]["memory"] == 64 * MIB


def test_deaf_family_is_gone_when_the_stop_is_answered(agent: AgentProcess) -> None:
    mark = str(uuid.uuid4())
    deaf = "trap '' TERM; while :; do sleep 1000; done"
    script = f'(setsid sh -c "{deaf}" &); setsid sh -c "{deaf}" & sh -c "{deaf}" & {deaf}'
    workload = submit(
        agent, "sh", "-c", script, stop_grace_s=0.5, config={"env": {"TEST_MARK": mark}}
    )
    family = partial(system.carrying, "TEST_MARK", mark)
    wait_until(lambda: len(family()) == 8, what=lambda: str(family()))
    agent.client.stop(workload["id"])
    assert family() == []
    stopped = agent.client.get(workload["id"])
    assert (stopped["status"], stopped["exit_signal"]) == ("stopped", "SIGKILL")


def test_flood_of_output_neither_stalls_the_agent_nor_fills_the_disk(
    bounded: AgentProcess, record_property: Callable[[str, object], None]
) -> None:
    workload = submit(bounded, "yes")
    pid = workload["process_pid"]
    folder = bounded.data_dir / "runs" / workload["id"]
    answers, largest = 0, 0
    while answers < HEALTH_ANSWERS or lines_written(pid) < 1_000 * LINES_PER_MS:
        assert bounded.client.health(timeout=10)["status"] == "healthy"
        answers += 1
        largest = max(largest, log_bytes(folder))
    usage = bounded.client.usage(workload["id"])
    rate = lines_written(pid) / 1_000 / max(0.001, seconds_since_start(pid))
    record_property("lines_per_ms", rate)
    sys.stdout.write(
        f"{rate:.0f} lines/ms, {answers} health answers, {usage['cpu_s']} s CPU, {largest} bytes\n"
    )
    assert rate > LINES_PER_MS
    assert largest <= LOG_BYTES * LOG_FILES
    assert bounded.client.logs(workload["id"], lines=3)["logs"] == ["y", "y", "y"]
    bounded.client.stop(workload["id"])
    assert log_bytes(folder) <= LOG_BYTES * LOG_FILES


def lines_written(pid: int) -> int:
    """Lines of two bytes that the process has got rid of (proc(5), `wchar`)."""
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1]) // 2
    raise AssertionError("no wchar in /proc/<pid>/io")


def seconds_since_start(pid: int) -> float:
    start = system.start_time(pid)
    assert start is not None
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - start / 100


def log_bytes(folder: Path) -> int:
    """Of all log files together; one that is rotated away meanwhile is not counted."""
    total = 0
    for path in folder.glob("output.log*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total
