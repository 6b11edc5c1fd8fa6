"""An agent killed amid uploads, overwrites and deletes leaves whole objects, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.node import Json, Node
from tests.support.agents import AgentProcess, start_agent, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

KILLS = int(os.environ.get("CNET_TEST_DATA_KILLS", "8"))
CLIENTS = 3
GIB = 1024**3


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[AgentProcess]:
    agent = start_agent(
        tmp_path, resources={"cpu": 4, "gpu": 0, "memory": 8 * GIB, "storage": 2 * GIB}
    )
    yield agent
    agent.stop()


class Client(threading.Thread):
    """Changes objects of its own until the agent is gone, and knows what it was told."""

    def __init__(self, name: str, url: str, seed: int) -> None:
        super().__init__(name=name)
        self._url = url
        self._random = random.Random(seed)
        self._number = 0
        self.kept: dict[str, str] = {}
        """data key → SHA-256 of the file, for what was acknowledged"""
        self.deleted: set[str] = set()
        self.open: dict[str, set[str | None]] = {}
        """data key → what it may hold: the change was asked for and not answered"""

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30, trust_env=False) as http:
            try:
                while True:
                    self._step(http)
            except httpx.TransportError:
                return

    def _step(self, http: httpx.Client) -> None:
        choice = self._random.random()
        content = self._random.randbytes(self._random.choice((10, 1000, 300_000, 3_000_000)))
        sha256 = hashlib.sha256(content).hexdigest()
        if choice < 0.5 or not self.kept:
            self._number += 1
            self._upload(http, f"{self.name}-{self._number}", content, sha256)
        elif choice < 0.8:
            self._overwrite(http, self._random.choice(list(self.kept)), content, sha256)
        else:
            self._remove(http, self._random.choice(list(self.kept)))

    def _upload(self, http: httpx.Client, key: str, content: bytes, sha256: str) -> None:
        self.open[key] = {None, sha256}
        config = json.dumps({"data_key": key, "access_mode": "readwrite"})
        files = [("files", ("f", content)), ("files", ("d/g", b"second"))]
        reply = http.post("/api/workloads", data={"config": config}, files=files)
        assert reply.status_code == 201, reply.text
        self.kept[key] = sha256
        del self.open[key]

    def _overwrite(self, http: httpx.Client, key: str, content: bytes, sha256: str) -> None:
        self.open[key] = {self.kept.pop(key), sha256}
        reply = http.put(f"/api/data/{key}/f", content=content)
        assert reply.status_code == 200, reply.text
        self.kept[key] = sha256
        del self.open[key]

    def _remove(self, http: httpx.Client, key: str) -> None:
        self.open[key] = {self.kept.pop(key), None}
        workload_id = http.get(f"/api/data/{key}").json()["workload_id"]
        reply = http.delete(f"/api/workloads/{workload_id}")
        assert reply.status_code == 200, reply.text
        self.deleted.add(key)
        del self.open[key]


def test_nothing_half_is_left(victim: AgentProcess) -> None:
    chance = random.Random(4)
    kept: dict[str, str] = {}
    for number in range(KILLS):
        clients = [
            Client(f"r{number}c{index}", victim.url, seed=100 * number + index)
            for index in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        threading.Event().wait(chance.uniform(0.05, 1.5))
        victim.kill()
        for client in clients:
            client.join()
        victim.restart()
        with Node(victim) as node:
            found = _check(node)
            for key, sha256 in kept.items():
                assert found.pop(key) == sha256, key
            for client in clients:
                kept |= _judge(client, found)
            assert found == {}, "objects that nobody made"


def _judge(client: Client, found: dict[str, str]) -> dict[str, str]:
    """Compare with what a client was told; what is there of it."""
    there: dict[str, str] = {}
    for key, sha256 in client.kept.items():
        assert found.pop(key, None) == sha256, f"acknowledged: {key}"
        there[key] = sha256
    for key in client.deleted:
        assert key not in found, f"deleted: {key}"
    for key, either in client.open.items():
        actual = found.pop(key, None)
        assert actual in either, f"neither before nor after: {key}"
        if actual is not None:
            there[key] = actual
    return there


def _check(node: Node) -> dict[str, str]:
    """Objects, workloads and files on the disk belong together; data key → SHA-256 of `f`."""
    objects: list[Json] = list(node.agent.client.data.list())
    workloads = {
        it["id"]: it for it in node.agent.client.list() if it["status_reason"] != "result_deleted"
    }
    assert {it["workload_id"] for it in objects} == workloads.keys()
    found: dict[str, str] = {}
    for item in objects:
        assert workloads[item["workload_id"]]["status"] == "completed"
        files = {file["path"]: file for file in node.agent.client.data.files(item["data_key"])}
        assert files.keys() == {"f", "d/g"}
        for path, file in files.items():
            content = node.http.get(f"/api/data/{item['data_key']}/{path}").content
            assert hashlib.sha256(content).hexdigest() == file["sha256"]
        found[item["data_key"]] = files["f"]["sha256"]
    total = sum(item["size"] for item in objects)
    count = sum(item["file_count"] for item in objects)
    root = node.agent.data_dir / "data"
    wait_until(
        lambda: len([path for path in (root / "blobs").rglob("*") if path.is_file()]) == count,
        what=lambda: f"{len(list((root / 'blobs').rglob('*')))} blobs of {count} files",
    )
    assert node.used()["storage"] == total
    return found
