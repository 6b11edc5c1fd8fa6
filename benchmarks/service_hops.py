"""A prediction asked of the service itself, through its own agent, and through that one's parent.

    python -m benchmarks.service_hops [--rounds 5] [--count 3000] [--connections 8]

Real agents; the service is the face detection, asked for its `/health` (the smallest answer it
has), so that the way is measured and not the work. Rounds alternate; medians are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics

from benchmarks.agents import running_agent
from benchmarks.delegation import until_linked
from benchmarks.load import Connection, Timing, drive, timing

SERVICE = {
    "name": "faces",
    "type": "opencv",
    "requirements": {"cpu": 1},
    "config": {"cascade_type": "face"},
}


async def deploy(url: str) -> str:
    """Where the service answers on its own node."""
    connection = Connection(url)
    status, answer = await connection.request(
        "POST", "/api/workloads", json.dumps(SERVICE).encode()
    )
    connection.close()
    workload = json.loads(answer)
    if status != 201 or workload["status"] != "running":
        raise RuntimeError(answer)
    return str(workload["direct_endpoint"])


def measure(url: str, path: str, *, count: int, connections: int) -> Timing:
    """One round."""

    async def one(connection: Connection, _number: int) -> None:
        status, answer = await connection.request("GET", path)
        if status != 200:
            raise RuntimeError(answer)

    latencies, elapsed = asyncio.run(drive(url, count=count, connections=connections, one=one))
    return timing(latencies, elapsed)


def compare(ways: dict[str, tuple[str, str]], *, rounds: int, count: int, connections: int) -> None:
    """Print one line a way."""
    found: dict[str, list[Timing]] = {name: [] for name in ways}
    for warm in (True, *([False] * rounds)):
        for name, (url, path) in ways.items():
            one = measure(url, path, count=count, connections=connections)
            if not warm:
                found[name].append(one)
    print(f"{connections} connections")
    for name, timings in found.items():
        added = statistics.median(
            one.p50_ms - direct.p50_ms for one, direct in zip(timings, found["direct"], strict=True)
        )
        middle = Timing(
            statistics.median(each.per_second for each in timings),
            statistics.median(each.p50_ms for each in timings),
            statistics.median(each.p99_ms for each in timings),
        )
        print(f"  {name:22} {middle}   added p50 {added:5.2f} ms")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}, {os.cpu_count()} cores")
    with running_agent("--node-id", "parent", settings={"CNET_RESOURCES__CPU": "0"}) as parent:
        link = {"CNET_PARENT__ENABLED": "true", "CNET_PARENT__ADDRESS": parent.url}
        with running_agent("--node-id", "child", settings=link) as child:
            asyncio.run(until_linked(parent.url))
            endpoint = asyncio.run(deploy(parent.url))
            ways = {
                "direct": (endpoint, "/health"),
                "through its agent": (child.url, "/services/faces/health"),
                "through the parent": (parent.url, "/services/faces/health"),
            }
            for connections in (1, options.connections):
                compare(ways, rounds=options.rounds, count=options.count, connections=connections)


if __name__ == "__main__":
    main()
