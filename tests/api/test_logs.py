"""A workload's output: the end of it, all of it, and as it comes; and what the run uses."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from threading import Thread

import pytest

from tests.api.node import Node, refused
from tests.support.agents import wait_until

TWELVE = "i=1; while [ $i -le 12 ]; do echo line $i; i=$((i+1)); done; echo oops >&2"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("2", ["line 12", "oops"]),
        ("0", [*(f"line {number}" for number in range(1, 13)), "oops"]),
        ("-1", [*(f"line {number}" for number in range(1, 13)), "oops"]),
        ("garbage", [*(f"line {number}" for number in range(1, 13)), "oops"]),
        ("", [*(f"line {number}" for number in range(1, 13)), "oops"]),
        ("9" * 30, [*(f"line {number}" for number in range(1, 13)), "oops"]),
        ("9" * 5000, [*(f"line {number}" for number in range(1, 13)), "oops"]),
    ],
    ids=["two", "zero", "negative", "garbage", "empty", "large", "huge"],
)
def test_how_many_lines(node: Node, lines: str, expected: list[str]) -> None:
    body = node.process("sh", "-c", TWELVE)
    node.wait_status(body["id"], "completed")
    assert node.logs(body["id"], lines) == expected


def test_the_default_is_a_hundred_lines(node: Node) -> None:
    body = node.process("seq", "300")
    node.wait_status(body["id"], "completed")
    answer = node.json(node.http.get(f"/api/workloads/{body['id']}/logs"))
    assert answer == {"logs": [str(number) for number in range(201, 301)], "count": 100}


def test_bytes_that_are_no_text(node: Node) -> None:
    body = node.process("printf", "caf\\351 \\000\\n%s", "end without newline")
    node.wait_status(body["id"], "completed")
    assert node.logs(body["id"]) == ["caf\ufffd \0", "end without newline"]


def test_rotation_keeps_the_newest(node: Node) -> None:
    """3 files of 8 KiB: some of 100,000 bytes is kept, and it is the end."""
    body = node.process("seq", "-f", "%099.0f", "1000")
    node.wait_status(body["id"], "completed")
    numbers = [int(line) for line in node.logs(body["id"]) if len(line) == 99]
    assert numbers == list(range(1001 - len(numbers), 1001))
    assert 8192 <= len(numbers) * 100 <= 3 * 8192
    folder = node.agent.data_dir / "runs" / body["id"]
    sizes = [file.stat().st_size for file in folder.rglob("*.log*")]
    assert len(sizes) == 3 and max(sizes) <= 8192


def test_following_until_the_end_over_rotations(node: Node, tmp_path: Path) -> None:
    """Nothing is lost or doubled between what was there and what comes, and the stream ends."""
    writer = tmp_path / "writer.py"
    writer.write_text(
        "import os, sys, time\n"
        "for number in range(10): print(number, flush=True)\n"
        "for number in range(10, 70):\n"
        "    while os.stat(sys.argv[1]).st_size < max(4, number - 15): time.sleep(0.01)\n"
        "    print(str(number).ljust(400, '.'), flush=True)\n"
    )
    read = tmp_path / "read"  # a byte for each line: what nobody has read yet fits into the log
    read.touch()
    body = node.process(sys.executable, "-S", str(writer), str(read))
    wait_until(lambda: len(node.logs(body["id"])) == 10)
    numbers: list[int] = []
    path = f"/api/workloads/{body['id']}/logs"
    with node.http.stream("GET", path, params={"follow": "true", "lines": "4"}) as reply:
        assert reply.headers["content-type"] == "text/plain; charset=utf-8"
        for line in reply.iter_lines():
            numbers.append(int(line.strip(".")))
            with read.open("a") as file:
                file.write(".")
    assert numbers == list(range(6, 70))
    assert node.get(body["id"])["status"] == "completed"
    assert len(list((node.agent.data_dir / "runs" / body["id"]).rglob("*.log*"))) == 3


def test_following_one_that_has_ended(node: Node) -> None:
    body = node.process("sh", "-c", TWELVE)
    node.wait_status(body["id"], "completed")
    reply = node.http.get(
        f"/api/workloads/{body['id']}/logs", params={"follow": "true", "lines": "2"}
    )
    assert (reply.status_code, reply.text) == (200, "line 12\noops\n")


def test_following_all_there_is(node: Node) -> None:
    body = node.process("sh", "-c", TWELVE)
    node.wait_status(body["id"], "completed")
    reply = node.http.get(
        f"/api/workloads/{body['id']}/logs", params={"follow": "true", "lines": "0"}
    )
    assert reply.text.splitlines()[0] == "line 1"


def test_following_ends_with_a_stop(node: Node) -> None:
    body = node.process("sh", "-c", "echo ready; exec sleep 60")
    received: list[bytes] = []

    def follow() -> None:
        path = f"/api/workloads/{body['id']}/logs"
        with node.http.stream("GET", path, params={"follow": "true"}) as reply:
            received.extend(reply.iter_bytes())

    follower = Thread(target=follow)
    follower.start()
    wait_until(lambda: bool(received))
    node.stop(body["id"])
    follower.join(timeout=60)
    assert not follower.is_alive()
    assert b"".join(received) == b"ready\n"


def test_a_client_that_goes_away_while_following(node: Node) -> None:
    body = node.process("sh", "-c", "while echo x; do sleep 0.01; done")
    for _ in range(5):
        path = f"/api/workloads/{body['id']}/logs"
        with node.http.stream("GET", path, params={"follow": "true"}) as reply:
            next(reply.iter_bytes())
    assert node.get(body["id"])["status"] == "running"
    assert "Traceback" not in node.agent.log()


def test_usage_of_all_its_processes(node: Node) -> None:
    body = node.process("sh", "-c", "sleep 60 & while :; do :; done", limits={"cpu": 0.2})
    path = f"/api/workloads/{body['id']}/usage"

    def busy() -> bool:
        used = node.json(node.http.get(path))
        return bool(used["cpu_s"] > 0.05 and used["processes"] == 2)

    wait_until(busy)
    used = node.json(node.http.get(path))
    assert {name for name, value in used.items() if value is not None} == {
        "at",
        "cpu_s",
        "processes",
        "rss_bytes",
    }
    assert used["rss_bytes"] > 100_000
    assert abs(time.time() - _seconds(used["at"])) < 60
    node.stop(body["id"])
    refused(node.http.get(path), 409, "wrong_state")


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
