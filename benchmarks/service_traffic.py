"""Whether a service fails a request while it is updated, shared, scaled and killed.

    python -m benchmarks.service_traffic [--requests 100000] [--clients 8] [--through owner|peer]
        [--only update,canary,scale,kill]

Two agents that are peers; the first owns a service of a small custom model. Clients with a
kept-alive connection each ask as fast as they are answered, through the owner or its peer, while
the service is updated again and again, or scaled 1 → 3 → 1, or its replicas are killed with
SIGKILL. Each part goes on until `--requests` answers have come. The exit status is 1 if any failed,
a split is off by more than 1 %, or the service did not do as it was told; stderr says which.
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
from contextlib import contextmanager, suppress
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
PATIENCE_S = 60.0
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
        _require_ready(self._client.services.create(spec), replicas)

    def delete(self) -> None:
        """With all replicas, those on a node that was out of reach for a moment as well."""
        self._client.services.delete(NAME)
        deadline = time.monotonic() + PATIENCE_S
        while left := self._client.services.list():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the service is not deleted: {left}")
            time.sleep(0.1)

    def update(self) -> None:
        """A new version in the place of the old one."""
        self.changes += 1
        template = self.template(self.changes)
        _require_ready(self._client.services.update(NAME, {"template": template}), 2)

    def canary(self) -> None:
        """A second version with a tenth of the requests."""
        new = {"template": self.template(1), "weight": 10}
        _require_ready(self._client.services.update(NAME, new), 4)

    def scale(self) -> None:
        """To 3, to 1, to 3, …"""
        self.changes += 1
        count = 3 if self.changes % 2 else 1
        _require_ready(self._client.services.scale(NAME, {"replicas": count}), count)

    def kill(self) -> None:
        """SIGKILL to the process of one replica."""
        running = self._client.list(status="running", name=NAME)
        if len(running) > 1:
            with suppress(ProcessLookupError):  # the one of before, which has not been seen to end
                os.kill(int(random.choice(running)["process_pid"]), signal.SIGKILL)
                self.changes += 1


def _require_ready(service: dict[str, Any], replicas: int) -> None:
    stands = {key: service[key] for key in ("status", "status_reason", "ready")}
    if stands != {"status": "ready", "status_reason": None, "ready": replicas}:
        raise RuntimeError(
            f"{replicas} replicas were to be ready: {stands}, {service['status_detail']}, "
            f"{service['instances']}"
        )


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


def run(part: str, service: Service, url: str, wanted: int, clients: int) -> str | None:
    """One part; what it did not keep of what is promised."""
    service.create({"update": 2, "canary": 2, "scale": 1, "kill": 3}[part])
    if part == "canary":
        service.canary()
    steps = {"update": service.update, "scale": service.scale, "kill": service.kill}
    load, elapsed = anyio.run(under_load, url, wanted, clients, steps.get(part))
    service.delete()
    told = timing(load.latencies, elapsed)
    said = f"{service.changes} changes"
    share = 0.1
    if part == "canary":
        share = load.answers[1] / load.answers.total()
        said = f"{share:.3%} to the canary"
    print(
        f"{part:7} {len(load.latencies)} requests, {len(load.failed)} failed, {told}, "
        f"max {max(load.latencies) * 1000:.0f} ms, {said}",
        flush=True,
    )
    if load.failed:
        return f"{len(load.failed)} requests failed: {'; '.join(load.failed[:MOST_SHOWN])}"
    return None if abs(share - 0.1) <= 0.01 else f"{said}, not 10 %"


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
    parts = given.only.split(",")
    if not set(parts) <= set(PARTS):
        parser.error(f"--only: {given.only} is not of {', '.join(PARTS)}")
    good = True
    with peers() as (owner, peer), tempfile.TemporaryDirectory() as folder:
        url = owner if given.through == "owner" else peer
        with AgentClient(owner, timeout=300) as client:
            service = Service(client, Path(folder))
            for part in parts:
                why = run(part, service, url, given.requests, given.clients)
                if why is not None:
                    print(f"{part}: {why}", file=sys.stderr, flush=True)
                    good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
