"""Submit → running on the agent that was asked, and on its child, in alternation.

python -m benchmarks.delegation [--count 500] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time

from benchmarks.agents import RunningAgent, running_agent
from benchmarks.load import Connection, Timing, drive, process_spec, timing

TRUE = "/bin/true"


async def until_linked(url: str) -> None:
    """Wait until the agent knows another node."""
    connection = Connection(url)
    while True:
        _, answer = await connection.request("GET", "/api/nodes")
        if json.loads(answer)["count"] > 1:
            break
        await asyncio.sleep(0.02)
    connection.close()


async def one_round(url: str, *, node: str, count: int) -> Timing:
    """How long a submit takes until its process runs on `node`."""
    running = {"running", "completed"}

    async def submit(connection: Connection, number: int) -> None:
        status, answer = await connection.request(
            "POST", "/api/workloads", process_spec(f"w{number}", TRUE, cpu=0.1)
        )
        body = json.loads(answer)
        if status != 201 or body["status"] not in running or body["node_id"] != node:
            raise RuntimeError(answer)

    return timing(*await drive(url, count=count, connections=1, one=submit))


def measure(parent: RunningAgent, child: RunningAgent, *, count: int, rounds: int) -> None:
    """Print medians over the rounds."""
    asyncio.run(until_linked(parent.url))
    targets = {"local": child.url, "one hop": parent.url}
    for url in targets.values():
        asyncio.run(one_round(url, node="child", count=50))
    medians: dict[str, list[float]] = {name: [] for name in targets}
    tails: dict[str, list[float]] = {name: [] for name in targets}
    for _ in range(rounds):
        for name, url in targets.items():
            taken = asyncio.run(one_round(url, node="child", count=count // rounds))
            medians[name].append(taken.p50_ms)
            tails[name].append(taken.p99_ms)
            time.sleep(0.2)
    for name in targets:
        p50, p99 = statistics.median(medians[name]), statistics.median(tails[name])
        print(f"submit → running, {name:8} p50 {p50:6.2f} ms, p99 {p99:6.2f} ms")
    added = statistics.median(
        hop - here for hop, here in zip(medians["one hop"], medians["local"], strict=True)
    )
    print(f"added by one hop            p50 {added:6.2f} ms")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with running_agent("--node-id", "parent", settings={"CNET_RESOURCES__CPU": "0"}) as parent:
        link = {"CNET_PARENT__ENABLED": "true", "CNET_PARENT__ADDRESS": parent.url}
        with running_agent("--node-id", "child", settings=link) as child:
            measure(parent, child, count=options.count, rounds=options.rounds)


if __name__ == "__main__":
    main()
