"""H1–H4: what an agent costs beside the work it runs.

python -m benchmarks.workloads [--count 5000] [--connections 8] [--only rate,latency,idle,many]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from pathlib import Path

import psutil

from benchmarks.agents import memory, running_agent
from benchmarks.load import Connection, drive, process_spec, timing

TRUE = "/bin/true"


async def until_ended(url: str, count: int) -> None:
    """Wait for `count` recorded exits."""
    connection = Connection(url)
    while True:
        _, body = await connection.request("GET", "/api/resources/stats")
        by_status = json.loads(body)["workloads_by_status"]
        if by_status["completed"] >= count:
            break
        if by_status["failed"]:
            raise RuntimeError(f"workloads failed: {by_status}")
        await asyncio.sleep(0.01)
    connection.close()


def spawn_ceiling(count: int) -> float:
    """Bare `posix_spawn` + wait of /bin/true, per second: nothing can be faster than this."""
    started = time.perf_counter()
    for _ in range(count):
        pid = os.posix_spawn(TRUE, [TRUE], {})
        os.waitpid(pid, 0)
    return count / (time.perf_counter() - started)


async def rate(url: str, *, count: int, connections: int) -> float:
    """Submits of /bin/true until the last exit is recorded, per second."""
    body = process_spec("true", TRUE)

    async def submit(connection: Connection, _number: int) -> None:
        status, answer = await connection.request("POST", "/api/workloads?wait=false", body)
        if status != 201:
            raise RuntimeError(answer)

    started = time.perf_counter()
    await drive(url, count=count, connections=connections, one=submit)
    await until_ended(url, count)
    return count / (time.perf_counter() - started)


def measure_rate(*, count: int, connections: int, rounds: int) -> None:
    """H1, in alternation with the ceiling of the same minute."""
    rates, ceilings = [], []
    for _ in range(rounds):
        ceilings.append(spawn_ceiling(1000))
        with running_agent() as agent:
            one = rate(agent.url, count=count // rounds, connections=connections)
            rates.append(asyncio.run(one))
    ours, ceiling = statistics.median(rates), statistics.median(ceilings)
    print(f"submit → recorded exit   {ours:8.1f}/s   ({', '.join(f'{r:.0f}' for r in rates)})")
    print(f"bare posix_spawn         {ceiling:8.1f}/s   ratio {ours / ceiling:.2f}")


def measure_latency(*, count: int) -> None:
    """H2: one submit after the other, until the process runs (durable)."""

    async def submit(connection: Connection, number: int) -> None:
        status, answer = await connection.request(
            "POST", "/api/workloads", process_spec(f"w{number}", TRUE)
        )
        if status != 201 or json.loads(answer)["status"] not in {"running", "completed"}:
            raise RuntimeError(answer)

    with running_agent() as agent:
        asyncio.run(drive(agent.url, count=50, connections=1, one=submit))
        latencies, elapsed = asyncio.run(drive(agent.url, count=count, connections=1, one=submit))
    print(f"submit → running         {timing(latencies, elapsed)}")


def measure_idle(*, seconds: float) -> None:
    """H3: memory and CPU of an agent that has nothing to do, and how long it takes to start."""
    starts = []
    for _ in range(5):
        with running_agent() as agent:
            starts.append(agent.start_s)
    with running_agent() as agent:
        process = psutil.Process(agent.pid)
        time.sleep(2)
        before = process.cpu_times()
        time.sleep(seconds)
        after = process.cpu_times()
        used = after.user + after.system - before.user - before.system
        rss, pss, _ = memory(agent.pid)
        spawner = sum(memory(child.pid)[1] for child in process.children())
        print(f"idle agent  RSS {rss:.1f} MB, PSS {pss:.1f} MB, spawner {spawner:.1f} MB")
        print(f"idle CPU                 {used / seconds:.2%} of a core over {seconds:.0f} s")
    starts_ms = sorted(start * 1000 for start in starts)
    spread = f"{starts_ms[0]:.0f}–{starts_ms[-1]:.0f}"
    print(f"start → first answer     median {statistics.median(starts_ms):.0f} ms ({spread})")


def measure_many(*, count: int) -> None:
    """H4: private memory per running workload: its shim's and the agent's share."""

    async def submit(connection: Connection, number: int) -> None:
        status, answer = await connection.request(
            "POST", "/api/workloads", process_spec(f"w{number}", "/bin/sleep", "600")
        )
        if status != 201:
            raise RuntimeError(answer)

    with running_agent() as agent:
        agent_before = memory(agent.pid)[2]
        asyncio.run(drive(agent.url, count=count, connections=4, one=submit))
        agent_after = memory(agent.pid)[2]
        shims = [
            psutil.Process(json.loads(path.read_text())["shim_pid"])
            for path in Path(agent.data_dir / "runs").glob("*/*/shim.json")
        ]
        private = [memory(shim.pid)[2] for shim in shims]
        grown = (agent_after - agent_before) / count
        print(
            f"{len(shims)} running workloads: shim {statistics.mean(private):.2f} MB private each, "
            f"agent +{grown:.3f} MB each (agent {agent_after:.1f} MB private)"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--many", type=int, default=500)
    parser.add_argument("--idle-seconds", type=float, default=60)
    parser.add_argument("--only", default="rate,latency,idle,many")
    options = parser.parse_args()
    only = set(options.only.split(","))
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}, {os.cpu_count()} cores")
    if "rate" in only:
        measure_rate(count=options.count, connections=options.connections, rounds=options.rounds)
    if "latency" in only:
        measure_latency(count=1000)
    if "idle" in only:
        measure_idle(seconds=options.idle_seconds)
    if "many" in only:
        measure_many(count=options.many)


if __name__ == "__main__":
    main()
