"""Whether a service fails a request while it is updated, shared, scaled and killed.

    python -m benchmarks.service_traffic [--requests 100000] [--clients 8] [--through owner|peer]
        [--only update,canary,scale,kill]

Two agents that are peers; the first owns a service of a small custom model. Clients with a
kept-alive connection each ask as fast as they are answered, through the owner or its peer, while
the service is updated again and again, or scaled 1 → 3 → 1, or its replicas are killed with
SIGKILL. Each part goes on until `--requests` answers have come. The exit status is 1 if any failed,
or a split is off by more than 1 %.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from benchmarks.agents import running_agent
from benchmarks.load import Connection, timing
from cnet.client import AgentClient

NAME = "numbers"
BODY = b'{"inputs": [1]}'
PARTS = ("update", "canary", "scale", "kill")
PAUSE_S = 1.0
"""Between two changes of the service."""
MOST_SHOWN = 5


@dataclass
class Load:
    """What the clients have got."""

    wanted: int
    latencies: list[float] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Enough answers have come."""
        return len(self.latencies) >= self.wanted

    async def client(self, url: str) -> None:
        """Ask until there are enough answers."""
        connection = Connection(url)
        while not self.done:
            began = time.perf_counter()
            try:
                status, text = await connection.request("POST", f"/services/{NAME}/predict", BODY)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.failed.append(repr(error))
                connection.close()
                connection = Connection(url)
            else:
                if status == 200:
                    self.answers[json.loads(text)["outputs"]] += 1
                else:
                    self.failed.append(f"{status} {text[:200]!r}")
            self.latencies.append(time.perf_counter() - began)
        connection.close()


class Service:
    """The service under load, and what is done to it."""

    def __init__(self, client: AgentClient, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self.changes = 0

    def template(self, number: int) -> dict[str, Any]:
        """A model that answers with a number."""
        path = self._folder / f"model_{number}.py"
        path.write_text(
            "class Model:\n    def load(self):\n        pass\n\n"
            f"    def predict(self, inputs):\n        return {number}\n"
        )
        config = {"model_type": "custom", "model_path": str(path)}
        return {"type": "mlmodel", "config": config, "requirements": {"cpu": 0.5}}

    def create(self, replicas: int) -> None:
        """Anew."""
        self.changes = 0
        spec = {"name": NAME, "replicas": replicas, "template": self.template(0)}
        assert self._client.services.create(spec)["status"] == "ready"

    def delete(self) -> None:
        """With all replicas."""
        self._client.services.delete(NAME)

    def update(self) -> None:
        """A new version in the place of the old one."""
        self.changes += 1
        found = self._client.services.update(NAME, {"template": self.template(self.changes)})
        assert found["status"] == "ready", found

    def canary(self) -> None:
        """A second version with a tenth of the requests."""
        self._client.services.update(NAME, {"template": self.template(1), "weight": 10})

    def scale(self) -> None:
        """To 3, to 1, to 3, …"""
        self.changes += 1
        count = 3 if self.changes % 2 else 1
        assert self._client.services.scale(NAME, {"replicas": count})["ready"] == count

    def kill(self) -> None:
        """SIGKILL to the process of one replica."""
        running = self._client.list(status="running", name=NAME)
        if len(running) > 1:
            self.changes += 1
            os.kill(int(random.choice(running)["process_pid"]), signal.SIGKILL)


async def under_load(
    url: str, wanted: int, clients: int, change: Callable[[], None] | None
) -> tuple[Load, float]:
    """Ask, and change the service again and again meanwhile; what came, and seconds."""
    load = Load(wanted)
    began = time.perf_counter()

    async def changing(step: Callable[[], None]) -> None:
        while not load.done:
            await anyio.to_thread.run_sync(step)
            await anyio.sleep(PAUSE_S)

    async with anyio.create_task_group() as group:
        for _ in range(clients):
            group.start_soon(load.client, url)
        if change is not None:
            group.start_soon(changing, change)
    return load, time.perf_counter() - began


def run(part: str, service: Service, url: str, wanted: int, clients: int) -> bool:
    """One part; whether it kept what is promised."""
    service.create({"update": 2, "canary": 2, "scale": 1, "kill": 3}[part])
    if part == "canary":
        service.canary()
    steps = {"update": service.update, "scale": service.scale, "kill": service.kill}
    load, elapsed = anyio.run(under_load, url, wanted, clients, steps.get(part))
    service.delete()
    told = timing(load.latencies, elapsed)
    said = f"{service.changes} changes"
    good = not load.failed
    if part == "canary":
        share = load.answers[1] / load.answers.total()
        said = f"{share:.3%} to the canary"
        good = good and abs(share - 0.1) <= 0.01
    print(
        f"{part:7} {len(load.latencies)} requests, {len(load.failed)} failed, {told}, "
        f"max {max(load.latencies) * 1000:.0f} ms, {said}",
        flush=True,
    )
    for each in load.failed[:MOST_SHOWN]:
        print(f"        {each}")
    return good


@contextmanager
def peers() -> Iterator[tuple[str, str]]:
    """Two agents; URLs of the owner and of its peer."""
    with running_agent(settings={"CNET_AGENT__NODE_ID": "owner"}) as owner:
        settings = {
            "CNET_AGENT__NODE_ID": "peer",
            "CNET_PEERS__ENABLED": "true",
            "CNET_PEERS__ADDRESSES": json.dumps([owner.url.removeprefix("http://")]),
        }
        with running_agent(settings=settings) as peer:
            with AgentClient(peer.url) as client:
                while client.nodes()["count"] < 2:
                    time.sleep(0.05)
            yield owner.url, peer.url


def main() -> int:
    """Print a line for each part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--through", choices=("owner", "peer"), default="owner")
    parser.add_argument("--only", default=",".join(PARTS))
    given = parser.parse_args()
    good = True
    with peers() as (owner, peer), tempfile.TemporaryDirectory() as folder:
        url = owner if given.through == "owner" else peer
        with AgentClient(owner, timeout=300) as client:
            service = Service(client, Path(folder))
            for part in given.only.split(","):
                good = run(part, service, url, given.requests, given.clients) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
