"""A TCP proxy that makes a path slow, jerky or dead without closing anything.

    python -m tools.partitions.proxy ADDRESS PORT TARGET-ADDRESS TARGET-PORT

Connections arrive at ADDRESS:PORT and leave from ADDRESS. One JSON object a line on stdin changes
the weather: `{"delay_s": 0.2, "jerk": 0.1, "stalled": ["up", "down"]}`; what is absent is calm. It
ends with stdin, and it stands in for netem, which not every kernel has.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import anyio
from anyio.abc import SocketAttribute, SocketStream

REPOSITORY = Path(__file__).resolve().parents[2]
JERK_S = 0.25  # what a lost segment costs TCP before it is sent again
Direction = Literal["up", "down"]  # up: from the one who dialled


@dataclass
class Weather:
    """How bytes get through at present."""

    delay_s: float = 0.0
    jerk: float = 0.0
    stalled: Collection[str] = ()
    changed: anyio.Event = field(default_factory=anyio.Event)

    def change(
        self, delay_s: float = 0.0, jerk: float = 0.0, stalled: Collection[str] = ()
    ) -> None:
        """Take other values; those that wait look again."""
        self.delay_s, self.jerk, self.stalled = delay_s, jerk, frozenset(stalled)
        self.changed.set()
        self.changed = anyio.Event()

    async def passage(self, direction: Direction) -> None:
        """Return when a piece may go on."""
        pause = self.delay_s + (JERK_S if random.random() < self.jerk else 0)
        if pause:
            await anyio.sleep(pause)
        while direction in self.stalled:
            await self.changed.wait()


async def _pump(
    source: SocketStream, sink: SocketStream, weather: Weather, direction: Direction
) -> None:
    try:
        async for piece in source:
            await weather.passage(direction)
            await sink.send(piece)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return  # one of them is gone, and the other is closed with it


async def _carry(near: SocketStream, local: str, host: str, port: int, weather: Weather) -> None:
    async with near:
        try:
            far = await anyio.connect_tcp(host, port, local_host=local)
        except OSError:
            return
        async with far, anyio.create_task_group() as group:
            for stream in (near, far):
                stream.extra(SocketAttribute.raw_socket).setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
                )

            async def direct(a: SocketStream, b: SocketStream, direction: Direction) -> None:
                await _pump(a, b, weather, direction)
                group.cancel_scope.cancel()

            group.start_soon(direct, near, far, "up")
            group.start_soon(direct, far, near, "down")


async def serve(address: str, port: int, target: str, target_port: int) -> None:
    """Until stdin ends."""
    weather = Weather()
    listener = await anyio.create_tcp_listener(local_host=address, local_port=port)
    async with anyio.create_task_group() as group:
        group.start_soon(
            listener.serve, lambda near: _carry(near, address, target, target_port, weather)
        )
        print("ready", flush=True)
        while line := await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            weather.change(**json.loads(line))
            print("done", flush=True)
        group.cancel_scope.cancel()


class Proxy:
    """The program above as a child; `entering` are the words that put it on a host."""

    def __init__(
        self, entering: list[str], address: str, port: int, target: str, target_port: int
    ) -> None:
        self.address = address
        self.port = port
        self._process = subprocess.Popen(
            [
                *entering,
                *(sys.executable, "-m", "tools.partitions.proxy"),
                *(address, str(port), target, str(target_port)),
            ],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._expect("ready")

    def set_weather(
        self, *, delay_s: float = 0.0, jerk: float = 0.0, stalled: Collection[Direction] = ()
    ) -> None:
        """Delay in seconds and share of pieces held up for long; directions that carry nothing."""
        if self._process.stdin is None:
            raise RuntimeError("it has no stdin")
        weather = {"delay_s": delay_s, "jerk": jerk, "stalled": list(stalled)}
        self._process.stdin.write(json.dumps(weather) + "\n")
        self._process.stdin.flush()
        self._expect("done")

    def close(self) -> None:
        """End it with all its connections."""
        self._process.kill()
        self._process.communicate()

    def _expect(self, word: str) -> None:
        if self._process.stdout is None or self._process.stdout.readline().strip() != word:
            raise RuntimeError(f"the proxy at {self.address}:{self.port} has ended")


if __name__ == "__main__":
    anyio.run(serve, sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
