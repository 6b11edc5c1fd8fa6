"""A lean HTTP/1.1 client: kept-alive raw sockets, so that the load costs little CPU itself.

On the small machines these benchmarks run on, a comfortable client would be half of what is
measured.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")


class Connection:
    """One kept-alive connection; one request at a time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def request(
        self, method: str, path: str, body: bytes = b"", content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        """Status and body of the answer."""
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        status = int(answer[9:12])
        length = 0
        for line in answer.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, await self._reader.readexactly(length)

    def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()


@dataclass(frozen=True, slots=True)
class Timing:
    """What a load saw; times in milliseconds."""

    per_second: float
    p50_ms: float
    p99_ms: float

    def __str__(self) -> str:
        return f"{self.per_second:8.1f}/s   p50 {self.p50_ms:7.2f} ms   p99 {self.p99_ms:7.2f} ms"


def timing(latencies_s: list[float], elapsed_s: float) -> Timing:
    """Rate, median and 99th percentile of a load."""
    ordered = sorted(latencies_s)
    return Timing(
        len(ordered) / elapsed_s,
        statistics.median(ordered) * 1000,
        ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000,
    )


def middle(rounds: Sequence[T], of: Callable[[T], float]) -> float:
    """The median."""
    return statistics.median(of(one) for one in rounds)


def print_ratios(what: str, found: Mapping[str, Sequence[T]], of: Callable[[T], float]) -> None:
    """The first one's figure by each other's of the same round: median, least and most."""
    ours, *others = found
    for name in others:
        ratios = [of(a) / of(b) for a, b in zip(found[ours], found[name], strict=True)]
        print(
            f"  {ours} / {name}, {what}: {statistics.median(ratios):.3g}"
            f" ({min(ratios):.3g}-{max(ratios):.3g})",
            flush=True,
        )


async def drive(
    url: str, *, count: int, connections: int, one: Callable[[Connection, int], Awaitable[None]]
) -> tuple[list[float], float]:
    """`one(connection, number)` for every number below `count`, over several connections.

    Returns the latency of each in seconds, and the time from first to last.
    """
    numbers = iter(range(count))
    latencies: list[float] = []

    async def worker() -> None:
        connection = Connection(url)
        for number in numbers:
            started = time.perf_counter()
            await one(connection, number)
            latencies.append(time.perf_counter() - started)
        connection.close()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(worker())
    return latencies, time.perf_counter() - started


def process_spec(name: str, command: str, *args: str, cpu: float = 0) -> bytes:
    """The body of a submit of a process."""
    return json.dumps(
        {
            "name": name,
            "type": "process",
            "requirements": {"cpu": cpu},
            "config": {"command": command, "args": list(args)},
        }
    ).encode()
