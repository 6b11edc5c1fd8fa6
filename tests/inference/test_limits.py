"""What a service does with time and threads that it is given."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

from tests.inference.services import Service, running, wait_for

HELD = """
import time
from pathlib import Path

def predict(inputs):
    while inputs == "wait" and not Path(__file__).with_name("go").exists():
        time.sleep(0.01)
    return inputs
"""
LINE = 64  # requests that may wait as usual
HEADER = "X-Request-Timeout-Ms"


@contextmanager
def holding(folder: Path, *arguments: str) -> Iterator[Service]:
    """A model that answers `wait` when the file `go` is there, one request at a time."""
    path = folder / "model.py"
    path.write_text(HELD)
    with running(folder, "custom", "--model", str(path), "--threads", "1", *arguments) as service:
        yield service
        (folder / "go").touch()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Service]:
    """Where one request may wait."""
    with holding(tmp_path, "--max-waiting", "1") as service:
        yield service


@pytest.fixture
def usual(tmp_path: Path) -> Iterator[Service]:
    """Where as many may wait as usual."""
    with holding(tmp_path) as service:
        yield service


def ask(service: Service, inputs: str, **headers: str) -> httpx.Response:
    """May be called from several threads: each call has a connection of its own."""
    return service.client.post("/predict", json={"inputs": inputs}, headers=headers)


def figure(service: Service, name: str, **labels: str) -> float:
    text = service.client.get("/metrics").text
    found = [
        sample.value
        for family in parsed(text)
        for sample in family.samples
        if sample.name == f"cnet_inference_{name}" and sample.labels == labels
    ]
    return found[0] if found else 0


def test_a_request_that_takes_too_long_is_told_so(held: Service, tmp_path: Path) -> None:
    late = ask(held, "wait", **{HEADER: "200"})
    assert (late.status_code, late.json()["error"]) == (504, "deadline_exceeded")
    assert "while the model worked on it" in late.json()["details"]
    late = ask(held, "behind it", **{HEADER: "200"})
    assert (late.status_code, "in line" in late.json()["details"]) == (504, True)
    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(ask, held, "patient")
        wait_for(lambda: figure(held, "queue_length") == 1)
        refused = ask(held, "too many")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        (tmp_path / "go").touch()
        assert patient.result().json()["outputs"] == "patient"
    assert figure(held, "errors_total", code="deadline_exceeded") == 2
    assert figure(held, "errors_total", code="overloaded") == 1
    assert figure(held, "requests_total", route="/predict", status="200") == 1
    assert figure(held, "request_seconds_count", route="/predict") == 4
    # What nobody waited for any more did not reach the model.
    assert figure(held, "run_seconds_count") == 2
    assert figure(held, "model_load_seconds") > 0


def test_overload_is_refused_at_once_and_passes(usual: Service, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1 + LINE) as pool:
        accepted = [pool.submit(ask, usual, "wait") for _ in range(1 + LINE)]
        wait_for(lambda: figure(usual, "queue_length") == LINE)
        refused = ask(usual, "too many")
        assert (refused.status_code, refused.json()["error"]) == (429, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert not any(each.done() for each in accepted)
        (tmp_path / "go").touch()
        assert [each.result().status_code for each in accepted] == [200] * (1 + LINE)
    assert ask(usual, "again").status_code == 200
    assert figure(usual, "run_seconds_count") == 2 + LINE


def test_work_of_clients_that_hung_up_is_dropped(usual: Service, tmp_path: Path) -> None:
    body = b'{"inputs": "nobody"}'
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    address = (usual.client.base_url.host, usual.client.base_url.port)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, usual, "wait")
        wait_for(lambda: figure(usual, "running") == 1)
        gone = [socket.create_connection(address) for _ in range(24)]
        for connection in gone:
            connection.sendall(head.encode() + body)
        wait_for(lambda: figure(usual, "queue_length") == len(gone))
        for connection in gone:  # by a reset
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        wait_for(lambda: figure(usual, "queue_length") == 0)
        (tmp_path / "go").touch()
        assert first.result().status_code == 200
    assert ask(usual, "behind them").status_code == 200
    assert figure(usual, "run_seconds_count") == 2


@pytest.mark.parametrize("value", ["0", "soon", "-5", "1.5", "9999999999", ""])
def test_times_that_are_none(held: Service, value: str) -> None:
    reply = ask(held, "x", **{HEADER: value})
    assert (reply.status_code, reply.json()["error"]) == (422, "invalid_field")
    assert "x-request-timeout-ms" in reply.json()["details"]


def test_a_time_limit_for_all_requests(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(HELD)
    arguments = ("custom", "--model", str(path), "--request-timeout-ms", "200")
    with running(tmp_path, *arguments) as service:
        assert ask(service, "x").status_code == 200
        assert ask(service, "wait").status_code == 504
        (tmp_path / "go").touch()
        assert ask(service, "wait", **{HEADER: "60000"}).status_code == 200


def test_metrics_in_the_form_of_openmetrics(held: Service) -> None:
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    reply = held.client.get("/metrics", headers=accept)
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    assert reply.text.endswith("# EOF\n")
    about = 'cnet_inference_service_info{model="custom",runtime="custom"'
    assert about in reply.text
    assert "process_resident_memory_bytes" in reply.text


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_follow_the_quota(tmp_path: Path, threads: int) -> None:
    """Whatever the machine has: libraries may not start a thread for each of its CPUs."""
    path = tmp_path / "model.py"
    path.write_text(
        "import os\nimport numpy as np\n"
        "def predict(inputs):\n"
        "    np.ones((500, 500)) @ np.ones((500, 500))\n"
        "    return [os.environ[f'{n}_NUM_THREADS'] for n in ('OMP', 'OPENBLAS', 'MKL')]\n"
    )
    arguments = ("custom", "--model", str(path), "--threads", str(threads))

    with running(tmp_path, *arguments) as service:
        assert ask(service, "x").json()["outputs"] == [str(threads)] * 3
        # The loop, those that predict, those of OpenBLAS beside the first.
        assert psutil.Process(service.process.pid).num_threads() <= 1 + 2 * threads
