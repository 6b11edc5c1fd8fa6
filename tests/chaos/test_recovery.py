"""Moments that random kills meet rarely: a wish without its signal, a frozen agent, a reboot."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tools.chaos.system import Process

from cnet.supervision import Limits, cgroup_group, procfs
from cnet.supervision.run_directory import RunDirectory
from tests.chaos.evidence import listed, process_of, shim_records
from tests.supervision.site import Site
from tests.support.agents import AgentProcess, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


def process(name: str, script: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "process",
        "requirements": {"cpu": 0.5},
        "config": {"command": "sh", "args": ["-c", script]},
        **more,
    }


def test_stop_asked_before_the_kill_comes_about_after_it(agent: AgentProcess) -> None:
    script = 'trap "" TERM; echo deaf; while :; do sleep 1000; done'
    workload = agent.client.submit(process("deaf", script, stop_grace_s=5))
    main = process_of(workload)
    wait_until(lambda: agent.client.logs(workload["id"])["logs"] == ["deaf"])
    agent.client.stop(workload["id"], wait=False)
    agent.kill()
    assert main.lives()
    agent.restart()
    ended = agent.client.wait_for(workload["id"], timeout=30)
    assert ended["status"] == "stopped"
    assert not main.lives()
    assert agent.client.resources()["used"]["cpu"] == 0


def test_stop_that_is_only_a_record_comes_about(agent: AgentProcess) -> None:
    """The kill came when the wish was durable and the signal had not been sent."""
    workload = agent.client.submit(process("sleeper", "exec sleep 100000"))
    main = process_of(workload)
    agent.kill()
    rewrite_status(agent, workload["id"], phase="stopping", desired="stopped")
    assert main.lives()
    agent.restart()
    ended = agent.client.wait_for(workload["id"], timeout=30)
    assert ended["status"] == "stopped"
    assert not main.lives()


def test_delete_that_is_only_a_record_comes_about(agent: AgentProcess) -> None:
    workload = agent.client.submit(process("sleeper", "exec sleep 100000"))
    main = process_of(workload)
    agent.kill()
    rewrite_status(agent, workload["id"], phase="stopping", desired="deleted")
    agent.restart()
    wait_until(lambda: workload["id"] not in listed(agent), timeout_s=30)
    assert not main.lives()
    assert not (agent.data_dir / "runs" / workload["id"]).exists()


def test_restart_cut_off_between_its_two_steps_is_finished(agent: AgentProcess) -> None:
    """A restart during a restart pause first ends the pause: stopped, but wanted as running."""
    workload = agent.client.submit(process("sleeper", "exec sleep 100000"))
    agent.client.stop(workload["id"])
    agent.kill()
    rewrite_status(agent, workload["id"], phase="stopped", desired="running")
    agent.restart()
    again = agent.client.wait_for(workload["id"], until="running", timeout=30)
    assert again["attempt"] == 2


def rewrite_status(agent: AgentProcess, workload_id: str, **changes: str) -> None:
    """Put the journal of a dead agent into the state of another moment."""
    connection = sqlite3.connect(agent.data_dir / "cnet.db")
    (text,) = connection.execute(
        "SELECT status FROM workloads WHERE id = ?", (workload_id,)
    ).fetchone()
    status = json.dumps({**json.loads(text), **changes}).encode()
    connection.execute("UPDATE workloads SET status = ? WHERE id = ?", (status, workload_id))
    connection.commit()
    connection.close()


def test_workloads_write_on_while_the_agent_is_frozen(agent: AgentProcess, tmp_path: Path) -> None:
    """More than a pipe holds, so that somebody must be reading."""
    count = tmp_path / "count"
    script = f'i=0; while i=$((i+1)); do echo "{"x" * 1000} $i"; echo $i > {count}; done'
    workload = agent.client.submit(process("writer", script))
    main = process_of(workload)
    log = agent.data_dir / "runs" / workload["id"] / "output.log"
    wait_until(lambda: written(count) > 0 and log.exists())
    os.kill(agent.pid, signal.SIGSTOP)
    try:
        begun, size = written(count), log.stat().st_size
        wait_until(lambda: written(count) > begun + 1000, timeout_s=60)
        wait_until(lambda: log.stat().st_size > size + 500_000, timeout_s=60)
    finally:
        os.kill(agent.pid, signal.SIGCONT)
    assert agent.client.health()["status"] == "healthy"
    assert process_of(agent.client.get(workload["id"])) == main
    assert agent.client.logs(workload["id"], lines=1)["logs"][0].startswith("xxx")


def written(count: Path) -> int:
    text = count.read_text().strip() if count.exists() else ""
    return int(text) if text else 0


def test_after_a_reboot_runs_are_lost_and_services_start_again(agent: AgentProcess) -> None:
    once = agent.client.submit(process("once", "exec sleep 100000"))
    retried = agent.client.submit(
        process("retried", "exec sleep 100000", restart={"policy": "on_failure", "backoff_s": 0})
    )
    ended = agent.client.submit(process("ended", "exit 7"))
    agent.client.wait_for(ended["id"], timeout=30)
    face = agent.client.submit(
        {"name": "face", "type": "opencv", "config": {}, "requirements": {"cpu": 1}}
    )
    assert face["status"] == "running"
    agent.kill()
    reboot(agent)
    agent.restart()
    lost = agent.client.wait_for(once["id"], timeout=30)
    assert (lost["status"], lost["status_reason"]) == ("failed", "node_rebooted")
    for workload in (retried, face):
        again = agent.client.wait_for(workload["id"], until="running", timeout=60)
        assert again["attempt"] == 2
        assert process_of(again).pid != workload["process_pid"]
    kept = agent.client.get(ended["id"])
    assert (kept["status"], kept["exit_code"]) == ("failed", 7)
    assert agent.client.resources()["used"]["cpu"] == 1.5


def reboot(agent: AgentProcess) -> None:
    """As a reboot leaves it: no process lives, and the records are of another boot."""
    records = shim_records(agent).values()
    processes = [Process(record["shim_pid"], record["shim_start"]) for record in records]
    processes += [Process(record["pid"], record["start"]) for record in records]
    for one in processes:
        one.kill()
    wait_until(lambda: not any(one.lives() for one in processes), timeout_s=20)
    for path in (agent.data_dir / "runs").glob("*/*/*.json"):
        record = json.loads(path.read_text())
        if "boot_id" in record:
            path.write_text(json.dumps({**record, "boot_id": "an-earlier-boot"}))


@pytest.mark.anyio
async def test_a_run_that_never_began_leaves_no_control_group(tmp_path: Path) -> None:
    """Agent and shim were killed when the shim had made the groups and nothing else."""
    site = Site(tmp_path / "runs")
    spec = site.spec("sleep", "600", limits=Limits(memory_bytes=64 * 1024 * 1024))
    async with site.supervisor() as supervisor:
        directory = RunDirectory(site.root, spec.workload_id, spec.attempt)
        directory.create(spec, user=None, boot_id=procfs.boot_id())
        cgroup_group.make(site.cgroups, spec.run_id, asdict(spec.limits))
        if not site.cgroups.run_directories():
            pytest.skip(f"no control groups here: {site.cgroups.describe()}")
        assert await supervisor.attach(spec.workload_id, spec.attempt) is None
        assert site.cgroups.run_directories() == {}
