"""Data on a disk that is full: refused with nothing half-stored, deletable, and healed by room."""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx
import pytest
from tools.chaos.power_cut import why_not

from tests.api.node import Node
from tests.chaos.test_full_disk import empty, fill, small
from tests.support.agents import AgentProcess

__all__ = ["small"]

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(180),
    pytest.mark.skipif(why_not() is not None, reason=f"no disk of one's own here: {why_not()}"),
]

MIB = 1024**2


def upload(node: Node, key: str, size: int) -> httpx.Response:
    """Without a length, so that only the disk can tell."""

    def body() -> Iterator[bytes]:
        head = 'form-data; name="config"\r\n\r\n{"data_key": "%s", "access_mode": "readwrite"}'
        yield f"--b\r\nContent-Disposition: {head % key}\r\n".encode()
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        for _ in range(size // MIB):
            yield os.urandom(MIB)
        yield b"\r\n--b--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=b"}
    return node.http.post("/api/workloads", content=body(), headers=headers)


def test_a_full_disk_refuses_data_and_heals(small: AgentProcess) -> None:
    with Node(small) as node:
        first = upload(node, "first", 4 * MIB)
        assert first.status_code == 201, first.text
        other = upload(node, "other", 1 * MIB)
        kept = node.http.get("/api/data/first/f").content
        assert upload(node, "large", 64 * MIB).status_code == 507
        assert node.http.get("/api/data/large").status_code == 404
        assert node.used()["storage"] == 5 * MIB
        fill(small.data_dir)
        assert upload(node, "full", MIB).status_code == 507
        assert node.http.put("/api/data/first/f", content=os.urandom(MIB)).status_code == 507
        assert node.http.get("/api/data/first/f").content == kept
        workload_id = node.json(other)["workload"]["id"]
        assert node.http.delete(f"/api/workloads/{workload_id}").status_code == 200
        assert node.used()["storage"] == 4 * MIB
        fill(small.data_dir)
    small.kill()
    small.restart()
    with Node(small) as node:
        assert node.http.get("/api/data/first/f").content == kept
        assert node.http.get("/api/data/other").status_code == 404
        assert upload(node, "full", MIB).status_code == 507
        empty(small.data_dir)
        assert upload(node, "again", MIB).status_code == 201
        assert node.used()["storage"] == 5 * MIB
