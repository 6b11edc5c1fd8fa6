"""kill -9 of an agent with 200 processes, 20 of which end meanwhile, and two busy services."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tools.chaos.system import Process

from tests.chaos.evidence import listed, process_of, shim_records, watched_pids
from tests.support.agents import AgentProcess, start_agent, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

LASTING, ENDING, WITH_7 = 180, 20, 8
ASSETS = Path(__file__).parents[2] / "examples"
PHOTOGRAPH = ASSETS / "assets" / "astronaut.jpg"
MODEL = ASSETS / "ml_models" / "shapes_yolo.onnx"
MIB = 1024 * 1024


class Caller(threading.Thread):
    """Asks a service for predictions, one after the other, each on a connection of its own."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(daemon=True)
        self._endpoint = endpoint
        self._picture = PHOTOGRAPH.read_bytes()
        self._ending = threading.Event()
        self.answered = 0
        self.failures: list[str] = []

    def run(self) -> None:
        while not self._ending.wait(0.02):
            try:
                answer = httpx.post(
                    f"{self._endpoint}/predict",
                    content=self._picture,
                    headers={"content-type": "image/jpeg"},
                    timeout=60,
                )
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
                continue
            if answer.status_code == 200:
                self.answered += 1
            else:
                self.failures.append(f"{answer.status_code} {answer.text[:200]}")

    def end(self) -> None:
        """Finish the request under way and stop."""
        self._ending.set()
        self.join()


@contextmanager
def under_load(*endpoints: str) -> Iterator[list[Caller]]:
    callers = [Caller(endpoint) for endpoint in endpoints]
    for caller in callers:
        caller.start()
    try:
        yield callers
    finally:
        for caller in callers:
            caller.end()


def body(number: int, gate: Path) -> dict[str, Any]:
    """Workload `number`: the first 180 sleep, the others end once the gate is opened."""
    code = 7 if number < LASTING + WITH_7 else 0
    script = "exec sleep 100000" if number < LASTING else f'read line < "{gate}"; exit {code}'
    return {
        "name": f"w-{number}",
        "type": "process",
        "requirements": {"cpu": 0.1, "memory": 16 * MIB},
        "config": {"command": "sh", "args": ["-c", script]},
        "stop_grace_s": 1,
    }


def deploy(agent: AgentProcess, gate: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """All 200 processes and both services; returns the services."""
    client = agent.client
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda n: client.submit(body(n, gate)), range(LASTING + ENDING))
        assert {answer["status"] for answer in answers} == {"running"}
    face = {"name": "face", "type": "opencv", "config": {"cascade_type": "face"}}
    shapes = {
        "name": "shapes",
        "type": "mlmodel",
        "config": {"model_type": "yolo", "model_path": str(MODEL)},
    }
    services = [
        agent.client.submit({**spec, "requirements": {"cpu": 1}}) for spec in (face, shapes)
    ]
    assert [service["status"] for service in services] == ["running", "running"]
    return services[0], services[1]


def open_gate(gate: Path, pids: set[int]) -> None:
    """Let the 20 end, and wait until they have (their shims as well)."""
    with gate.open("w"):  # whoever waits to read it goes on
        pass
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), timeout_s=30)


def test_running_are_found_again_and_ended_are_known(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    agent = start_agent(
        tmp_path, resources={"cpu": 64, "gpu": 0, "memory": 64 * 1024 * MIB, "storage": 10**9}
    )
    try:
        check_scenario(agent, tmp_path, record_property)
    finally:
        agent.stop()


def check_scenario(
    agent: AgentProcess, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    gate = tmp_path / "gate"
    make_fifo(gate)
    services = deploy(agent, gate)
    before = listed(agent)
    processes = {key: process_of(item) for key, item in before.items()}
    records = shim_records(agent)
    ending = {key for key, item in before.items() if number_of(item) >= LASTING}
    assert len(ending) == ENDING
    with under_load(*(service["endpoint"] for service in services)) as callers:
        wait_until(lambda: all(caller.answered > 2 for caller in callers), timeout_s=30)
        agent.kill()
        open_gate(gate, {records[key]["shim_pid"] for key in ending})
        took = restart_and_measure(
            agent, {records[key]["shim_pid"] for key in before.keys() - ending}
        )
        wait_until(
            lambda: all(listed(agent)[key]["status"] != "running" for key in ending), timeout_s=30
        )
        answered = [caller.answered for caller in callers]
        wait_until(
            lambda: all(
                caller.answered > count for caller, count in zip(callers, answered, strict=True)
            ),
            timeout_s=30,
        )
    record_property("all_reattached_s", took["attached"])
    sys.stdout.write(
        f"agent start to healthy {took['healthy']:.2f} s, to all {LASTING + 2} re-attached "
        f"{took['attached']:.2f} s; requests answered meanwhile and after: "
        f"{[caller.answered for caller in callers]}\n"
    )
    assert [caller.failures for caller in callers] == [[], []]
    check_after(agent, before, processes, ending)


def restart_and_measure(agent: AgentProcess, shims: set[int]) -> dict[str, float]:
    """Seconds from the start of the agent until it is healthy, and until it watches every shim."""
    began = time.monotonic()
    agent.restart()
    healthy = time.monotonic() - began
    wait_until(lambda: shims <= watched_pids(agent.pid), timeout_s=30, what="shims not watched")
    return {"healthy": healthy, "attached": time.monotonic() - began}


def check_after(
    agent: AgentProcess,
    before: dict[str, dict[str, Any]],
    processes: dict[str, Process],
    ending: set[str],
) -> None:
    after = listed(agent)
    assert after.keys() == before.keys()
    for key, item in after.items():
        if key in ending:
            code = 7 if number_of(item) < LASTING + WITH_7 else 0
            assert (item["exit_code"], item["status"]) == (code, "failed" if code else "completed")
        else:
            assert item["status"] == "running"
            assert process_of(item) == processes[key]
            assert item["attempt"] == 1
    used = agent.client.resources()["used"]
    assert used["cpu"] == pytest.approx(LASTING * 0.1 + 2, abs=1e-9)
    assert used["memory"] == LASTING * 16 * MIB


def number_of(item: dict[str, Any]) -> int:
    """Of a process `w-<number>`; services count as lasting."""
    name = item["name"]
    return int(name.removeprefix("w-")) if name.startswith("w-") else 0


def make_fifo(path: Path) -> None:
    """A pipe with a name: its readers wait until somebody opens it for writing."""
    os.mkfifo(path)
