"""What the route to a service costs beside asking the service itself.

    python -m benchmarks.service_route [--rounds 5] [--count 4000] [--connections 8]

A small service, and the agent's front door (guard and routes, as an agent has them) in a process of
their own; the same client asks both in alternating rounds. Medians of the rounds are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import uvicorn

from benchmarks.load import Connection, Timing, drive, timing
from cnet.api.guard import Guard
from cnet.api.services import Routed, ServiceRoutes
from cnet.errors import UnreachableError

ANSWER = (
    b'{"detections": [' + b", ".join([b'{"class": "person", "bbox": [1, 2, 3, 4]}'] * 5) + b"]}"
)


@dataclass(frozen=True)
class Place:
    """The one replica."""

    endpoint: str
    workload_id: str = "w"
    node_id: str = "here"
    relayed: bool = False


@dataclass(frozen=True)
class OneService:
    """Directory and carrier of the front door."""

    place: Place

    def replicas(self, name: str) -> Sequence[Place]:
        return (self.place,) if name == "small" else ()

    def routed(self, name: str) -> None:
        return None

    def all_routed(self) -> Sequence[Routed]:
        return ()

    def replica_of(self, workload_id: str) -> None:
        return None

    async def change(self) -> None:
        await asyncio.Event().wait()

    def absence(self, name: str) -> str | None:
        return None

    def names(self) -> Collection[str]:
        return ["small"]

    def app_for(self, node_id: str) -> Any:
        raise UnreachableError(node_id)


async def service(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body and answers a small JSON object."""
    while (await receive()).get("more_body"):
        continue
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(ANSWER)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


async def own(scope: Any, receive: Any, send: Any) -> None:
    """The routes behind the services'; never asked here."""
    raise AssertionError(scope["path"])


def serve(descriptor: int, endpoint: str | None) -> None:
    """Run the front door of the service at `endpoint`, or the service itself."""
    app: Any = service
    if endpoint is not None:
        one = OneService(Place(endpoint))
        routes = ServiceRoutes(own, directory=one, carrier=one)
        app = Guard(routes, token=None, max_body_bytes=1 << 20)
    config = uvicorn.Config(
        app, log_config=None, lifespan="off", access_log=False, server_header=False, loop="uvloop"
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


@contextmanager
def process(endpoint: str | None = None) -> Iterator[tuple[str, psutil.Process]]:
    """A program of its own; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        command = [sys.executable, "-m", "benchmarks.service_route", "--serve", str(number)]
        child = subprocess.Popen([*command, *([endpoint] if endpoint else [])], pass_fds=[number])
        try:
            port = listener.getsockname()[1]
            yield f"http://127.0.0.1:{port}", psutil.Process(child.pid)
        finally:
            child.terminate()
            child.wait(10)


def measure(url: str, path: str, body: bytes, *, count: int, connections: int) -> Timing:
    """One round."""

    async def one(connection: Connection, number: int) -> None:
        status, answer = await connection.request("POST", path, body)
        if status != 200 or answer != ANSWER:
            raise SystemExit(f"request {number} was answered {status}: {answer!r}")

    latencies, elapsed = asyncio.run(drive(url, count=count, connections=connections, one=one))
    return timing(latencies, elapsed)


def cpu_s(one: psutil.Process) -> float:
    """CPU seconds it has used."""
    times = one.cpu_times()
    return times.user + times.system


def compare(size: int, connections: int, rounds: int, count: int) -> None:
    """Print a block: direct, routed, the difference."""
    body = os.urandom(size)
    direct, routed, costs = [], [], []
    with process() as (service_url, _), process(service_url) as (front_url, front):
        for warm in (True, *([False] * rounds)):
            one = measure(service_url, "/predict", body, count=count, connections=connections)
            before = cpu_s(front)
            path = "/services/small/predict"
            other = measure(front_url, path, body, count=count, connections=connections)
            if not warm:
                direct.append(one)
                routed.append(other)
                costs.append((cpu_s(front) - before) / count * 1000)
    added = [b.p50_ms - a.p50_ms for a, b in zip(direct, routed, strict=True)]
    print(f"{connections} connections, bodies of {size} bytes")
    print(f"  direct  {_middle(direct)}")
    print(f"  routed  {_middle(routed)}")
    cpu_ms = statistics.median(costs)
    print(
        f"  added   p50 {statistics.median(added):.2f} ms ({min(added):.2f}-{max(added):.2f}); "
        f"CPU of the agent {cpu_ms:.3f} ms a request = {1000 / cpu_ms:.0f}/s on one core"
    )


def _middle(rounds: list[Timing]) -> Timing:
    return Timing(
        statistics.median(each.per_second for each in rounds),
        statistics.median(each.p50_ms for each in rounds),
        statistics.median(each.p99_ms for each in rounds),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--serve", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        number, *endpoint = arguments.serve
        serve(int(number), endpoint[0] if endpoint else None)
        return
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}, {os.cpu_count()} cores")
    for size in (200, 50_000):
        for connections in (1, arguments.connections):
            compare(size, connections, arguments.rounds, arguments.count)


if __name__ == "__main__":
    main()
