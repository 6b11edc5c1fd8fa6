"""A service that is asked ten times as much as it can do.

    python -m benchmarks.serving_overload [--seconds 60] [--times 10] [--threads 1]
        [--model DETECTOR | --forest TREES]

Requests come at their times whatever the answers (an open loop), and latencies count from the time
a request was due. First what the service can do, with as many clients as make it busy; then
four fifths of that ("normal"); then ten times as much; then normal again. The model is a detector
of YOLO11n's shape unless `--model` names another; with `--forest` a random forest of so many trees,
served by scikit-learn itself, a row a call. "unsent" tells of requests that the client itself was
too slow for: with them the figures are those of the client.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import psutil

from benchmarks import yolo_standin
from benchmarks.load import Connection, drive, timing
from benchmarks.yolo_predict import PHOTOGRAPH, service
from cnet.inference.images.pictures import decode

NORMAL = 0.8
MOST_CONNECTIONS = 512
SIDE = 320
FOREST = ("sklearn", "--no-convert", "--max-batch=1", "--trust=sklearn.tree._tree.Tree")


@dataclass
class Seen:
    """Latencies in seconds, from when a request was due; bytes of memory."""

    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    late: int = 0
    """no connection was free: the client could not send it in time"""
    memory: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def line(self, name: str) -> str:
        """For the table."""
        return (
            f"{name:<12}{(len(self.accepted) + len(self.refused)) / self.seconds:>9.0f}"
            f"{len(self.accepted) / self.seconds:>11.1f}{_ms(self.accepted, 0.5):>9.1f}"
            f"{_ms(self.accepted, 0.99):>9.1f}{len(self.refused) / self.seconds:>11.1f}"
            f"{_ms(self.refused, 0.99):>11.1f}{max(self.memory) / 1e6:>10.0f}"
            f"{len(self.others):>8}{self.late:>7}"
        )


def _ms(latencies: Sequence[float], share: float) -> float:
    ordered = sorted(latencies) or [float("nan")]
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


class Load:
    """Sends the same request at a steady rate, over as many connections as it takes."""

    def __init__(self, url: str, body: bytes, kind: str, process: psutil.Process) -> None:
        self._url, self._body, self._kind, self._process = url, body, kind, process
        self._free: list[Connection] = []
        self._open = 0

    async def run(self, rate: float, seconds: float) -> Seen:
        """Requests a second, for so long."""
        seen = Seen(seconds=seconds)
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch(seen))
            asking = []
            for number in range(int(rate * seconds)):
                due = started + number / rate
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                asking.append(group.create_task(self._ask(due, seen)))
                if number % 100 == 0:
                    asking = [task for task in asking if not task.done()]
            if asking:
                await asyncio.wait(asking)
            watching.cancel()
        return seen

    async def _ask(self, due: float, seen: Seen) -> None:
        if not self._free and self._open >= MOST_CONNECTIONS:
            seen.late += 1
            return
        try:
            connection, status = await self._request()
        except (OSError, asyncio.IncompleteReadError):
            seen.others.append(0)
            return
        self._free.append(connection)
        taken = time.perf_counter() - due
        if status == 200:
            seen.accepted.append(taken)
        elif status == 429:
            seen.refused.append(taken)
        else:
            seen.others.append(status)

    async def _request(self) -> tuple[Connection, int]:
        """On a connection that is free; on another where the service has closed it meanwhile."""
        while self._free:
            connection = self._free.pop()
            try:
                return connection, await self._status(connection)
            except (OSError, asyncio.IncompleteReadError):
                connection.close()
                self._open -= 1
        self._open += 1
        connection = Connection(self._url)
        try:
            return connection, await self._status(connection)
        except (OSError, asyncio.IncompleteReadError):
            self._open -= 1
            raise

    async def _status(self, connection: Connection) -> int:
        status, _ = await connection.request("POST", "/predict", self._body, self._kind)
        return status

    async def _watch(self, seen: Seen) -> None:
        while True:
            seen.memory.append(self._process.memory_info().rss)
            await asyncio.sleep(0.5)


async def capacity(url: str, body: bytes, kind: str, threads: int, seconds: float) -> float:
    """Requests a second, of as many clients as keep it busy."""

    async def one(connection: Connection, _number: int) -> None:
        status, answer = await connection.request("POST", "/predict", body, kind)
        if status != 200:
            raise SystemExit(f"{status}: {answer.decode()}")

    clients = 4 * threads
    latencies, elapsed = await drive(url, count=clients * 4, connections=clients, one=one)
    count = int(max(clients, len(latencies) / elapsed * seconds))
    latencies, elapsed = await drive(url, count=count, connections=clients, one=one)
    return timing(latencies, elapsed).per_second


async def campaign(
    url: str, process: psutil.Process, body: bytes, kind: str, arguments: argparse.Namespace
) -> None:
    """Measure one service and print its table."""
    able = await capacity(url, body, kind, arguments.threads, 5)
    print(f"able to do {able:.0f}/s, load {os.getloadavg()[0]:.1f}")
    print(
        f"{'':<12}{'asked/s':>9}{'accepted/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'refused/s':>11}"
        f"{'p99 ms':>11}{'RSS MB':>10}{'others':>8}{'unsent':>7}"
    )
    load = Load(url, body, kind, process)
    await load.run(able * NORMAL, 2)
    normal = await load.run(able * NORMAL, arguments.seconds / 3)
    print(normal.line("normal"), flush=True)
    over = await load.run(able * arguments.times, arguments.seconds)
    print(over.line(f"{arguments.times:g} times"), flush=True)
    first = await load.run(able * NORMAL, 1)
    print(first.line("1 s after"), flush=True)
    after = await load.run(able * NORMAL, arguments.seconds / 3)
    print(after.line("normal again"))
    half = len(over.memory) // 2
    print(
        f"p99 of accepted {_ms(over.accepted, 0.99) / _ms(normal.accepted, 0.99):.2f} times normal;"
        f" memory of the second half {max(over.memory[half:]) / max(over.memory[:half]):.2f} times"
        f" that of the first; refused in the first second after: {len(first.refused)}\n"
    )


def _picture() -> bytes:
    image = decode(PHOTOGRAPH.read_bytes(), max_pixels=1 << 28).pixels
    return cv2.imencode(".jpg", cv2.resize(image, (SIDE, SIDE)))[1].tobytes()


def _forest(path: Path, trees: int) -> bytes:
    """Write a classifier of digits; what to ask it."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from skops.io import dump

    rows, digits = load_digits(return_X_y=True)
    dump(RandomForestClassifier(trees, random_state=0).fit(rows, digits), path)
    return json.dumps({"inputs": rows[:1].tolist()}).encode()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=float, default=10)
    parser.add_argument("--threads", type=int, default=1)
    models = parser.add_mutually_exclusive_group()
    models.add_argument("--model", type=Path, help="another detector")
    models.add_argument("--forest", type=int, metavar="TREES", help="a classifier instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runtime: tuple[str, ...]
        if arguments.forest:
            model, runtime, kind = Path(folder) / "forest.skops", FOREST, "application/json"
            body = _forest(model, arguments.forest)
        else:
            model = arguments.model or yolo_standin.write(Path(folder) / "yolo11n-shaped.onnx")
            runtime, body, kind = ("yolo",), _picture(), "image/jpeg"
        print(f"{model.name}, {arguments.threads} threads", flush=True)
        with service(model, arguments.threads, runtime) as (url, process, _):
            asyncio.run(campaign(url, process, body, kind, arguments))


if __name__ == "__main__":
    main()
