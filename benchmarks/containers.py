"""Containers through an agent beside plain `docker run -d`, on an engine of this program's own.

    python -m benchmarks.containers [--rounds 20] [--count 50] [--in-flight 8]

Alternated, so that a busy machine slows both. One at a time: from the request until the container
runs (`docker run -d` returns then, and so does the submit). Then `--count` of them, started and
stopped by `--in-flight` at once. Needs root and the programs of Docker.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from tests.support.engine import IMAGE, Engine, missing

from benchmarks.agents import running_agent

PROGRAM = ["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"]


class Ways(Protocol):
    """A way of having containers: names in, containers running or gone when it returns."""

    def start(self, name: str) -> None: ...

    def stop(self, name: str) -> None:
        """Ends and removes it."""


@dataclass(frozen=True, slots=True)
class Plain:
    """The command `docker`."""

    host: str

    def start(self, name: str) -> None:
        self._docker("run", "--detach", "--rm", "--name", name, IMAGE, *PROGRAM)

    def stop(self, name: str) -> None:
        self._docker("stop", name)

    def _docker(self, *words: str) -> None:
        command = ["docker", "--host", self.host, *words]
        subprocess.run(command, check=True, capture_output=True)


@dataclass(frozen=True, slots=True)
class Bare:
    """The engine's API without anything before it: what nobody can be faster than."""

    engine: Engine

    def start(self, name: str) -> None:
        body = {"Image": IMAGE, "Cmd": PROGRAM, "HostConfig": {"AutoRemove": True}}
        self.engine.ask("POST", f"/containers/create?name={name}", json=body)
        self.engine.ask("POST", f"/containers/{name}/start")

    def stop(self, name: str) -> None:
        self.engine.ask("POST", f"/containers/{name}/stop")


class Ours:
    """An agent over HTTP."""

    def __init__(self, url: str) -> None:
        self._address = url.removeprefix("http://")
        self._ids: dict[str, str] = {}

    def start(self, name: str) -> None:
        config = {"image": IMAGE, "command": PROGRAM, "pull": "missing"}
        made = self._ask("POST", "", {"name": name, "type": "container", "config": config})
        if made["status"] != "running":
            raise RuntimeError(f"{name} is {made}")
        self._ids[name] = made["id"]

    def stop(self, name: str) -> None:
        self._ask("DELETE", f"/{self._ids.pop(name)}")

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._address, timeout=120)
        try:
            content = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"} if content else {}
            connection.request(method, f"/api/workloads{path}", content, headers)
            answer = connection.getresponse()
            found: dict[str, Any] = json.loads(answer.read())
            if answer.status not in {200, 201}:
                raise RuntimeError(f"{method} {path}: {answer.status} {found}")
            return found
        finally:
            connection.close()


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def one_at_a_time(ways: dict[str, Ways], rounds: int) -> dict[str, list[float]]:
    """Seconds from asking until running, way → one for each round."""
    took: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        order = list(ways.items())
        for way, it in order if number % 2 else reversed(order):
            name = f"bench-{uuid.uuid4()}"
            spent = seconds(lambda it=it, name=name: it.start(name))  # type: ignore[misc]
            it.stop(name)
            if number:  # the first warms up
                took[way].append(spent)
    return took


def many(it: Ways, count: int, in_flight: int) -> tuple[float, float]:
    """Seconds for the start of them all, and for their end."""
    names = [f"bench-{uuid.uuid4()}" for _ in range(count)]
    with ThreadPoolExecutor(in_flight) as pool:
        start = seconds(lambda: _all(pool.map(it.start, names)))
        stop = seconds(lambda: _all(pool.map(it.stop, names)))
    return start, stop


def _all(results: Iterable[object]) -> None:
    for _ in results:
        continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--waves", type=int, default=2, help="of --count containers each")
    options = parser.parse_args()
    if (why_not := missing()) is not None:
        print(f"not measured: {why_not}", file=sys.stderr)
        return
    engine = Engine()
    try:
        engine.start()
        engine.import_busybox()
        with running_agent(settings={"CNET_DOCKER__HOST": engine.host}) as agent:
            measure(
                options,
                {"docker": Plain(engine.host), "api": Bare(engine), "cnet": Ours(agent.url)},
            )
    finally:
        engine.discard()


def measure(options: argparse.Namespace, ways: dict[str, Ways]) -> None:
    """Print the figures."""
    took = one_at_a_time(ways, options.rounds)
    medians = {way: statistics.median(spent) for way, spent in took.items()}
    for way, spent in took.items():
        print(
            f"{way:6} until running: p50 {medians[way] * 1000:.0f} ms, "
            f"{min(spent) * 1000:.0f} to {max(spent) * 1000:.0f}"
        )
    against_docker = [o / p for o, p in zip(took["cnet"], took["docker"], strict=True)]
    against_api = [o / p for o, p in zip(took["cnet"], took["api"], strict=True)]
    print(
        f"cnet / docker run -d: {statistics.median(against_docker):.2f} (median of ratios), "
        f"cnet / the engine's API: {statistics.median(against_api):.2f}, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    ratios = []
    for _ in range(options.waves):
        plain_start, plain_stop = many(ways["docker"], options.count, options.in_flight)
        start, stop = many(ways["cnet"], options.count, options.in_flight)
        ratios.append((start + stop) / (plain_start + plain_stop))
        print(
            f"{options.count} started and stopped, {options.in_flight} at once: docker "
            f"{plain_start:.1f} + {plain_stop:.1f} s, cnet {start:.1f} + {stop:.1f} s"
        )
    print(f"cnet / docker: {statistics.median(ratios):.2f}, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
