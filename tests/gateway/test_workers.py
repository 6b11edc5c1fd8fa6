"""Several processes at one port: they share the work, and end together."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.gateway.gateways import Gateway, keys_file, run_to_end, running

COUNT = 3
WITHIN_S = 60.0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def answering(gateway: Gateway) -> str:
    """Names the process that answers a new connection."""
    return gateway.ask("GET", "/").headers["x-amz-request-id"][:-8]


@contextmanager
def at_work(folder: Path) -> Iterator[tuple[Gateway, list[psutil.Process]]]:
    """A gateway whose workers have all answered."""
    keys = ("--keys-file", str(keys_file(folder)))
    with running(folder, "--writable", "--workers", str(COUNT), *keys) as gateway:
        seen: set[str] = set()

        def all_answer() -> bool:
            seen.add(answering(gateway))
            return len(seen) == COUNT

        wait_for(all_answer, "not every worker answers")
        workers = psutil.Process(gateway.process.pid).children()
        assert len(workers) == COUNT
        yield gateway, workers


def gone(workers: list[psutil.Process]) -> bool:
    return not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_they_share_one_store_and_end_with_0(tmp_path: Path, number: signal.Signals) -> None:
    with at_work(tmp_path) as (gateway, workers):
        for count in range(30):  # each request comes on a connection of its own
            gateway.put("/cnet/file", b"%d" % count)
            assert gateway.ask("GET", "/cnet/file").body == b"%d" % count
        assert gateway.stop(number) == 0
        assert gone(workers)
        said = gateway.log.read_text()
        assert "Traceback" not in said
        assert "worker" not in said


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_that_ends_by_itself_ends_all(tmp_path: Path, number: signal.Signals) -> None:
    with at_work(tmp_path) as (gateway, workers):
        workers[1].send_signal(number)
        assert gateway.process.wait(WITHIN_S) == 1
        assert gone(workers)
        assert f"worker {workers[1].pid} ended" in gateway.log.read_text()


def test_none_outlives_the_program(tmp_path: Path) -> None:
    with at_work(tmp_path) as (gateway, workers):
        gateway.process.kill()
        wait_for(lambda: gone(workers), "a worker goes on without its parent")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_port_of_workers_is_taken(tmp_path: Path, workers: str) -> None:
    with at_work(tmp_path) as (gateway, _):
        options = ("--anonymous", "--port", str(gateway.port), "--workers", workers)
        ended = run_to_end("--base-path", str(gateway.root), *options)
        assert ended.returncode == 3
        assert str(gateway.port) in ended.stderr


def test_two_workers_cannot_share_the_port_of_one_gateway(tmp_path: Path) -> None:
    with running(tmp_path, "--anonymous") as gateway:
        options = ("--anonymous", "--port", str(gateway.port), "--workers", "2")
        ended = run_to_end("--base-path", str(gateway.root), *options)
        assert ended.returncode == 3


def test_workers_that_cannot_use_the_store_end_with_2(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "catalog.db").write_bytes(b"this is no database" * 100)
    options = ("--anonymous", "--port", "0", "--workers", "2")
    ended = run_to_end("--base-path", str(tmp_path / "data"), *options)
    assert ended.returncode == 2
    assert "catalog.db" in ended.stderr
