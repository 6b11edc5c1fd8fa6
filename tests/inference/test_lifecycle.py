"""How the program starts and ends: exit codes, signals, load, clients that hang up."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper
from PIL import Image

from tests.inference import models
from tests.inference.services import PHOTOGRAPH, Service, run_to_end, running, wait_for

ROUNDS = 24  # of a matrix product; some hundredths of a second


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


class TestExitCodes:
    def test_missing_model(self, tmp_path: Path) -> None:
        done = run_to_end("yolo", "--model", str(tmp_path / "none.onnx"))
        assert done.returncode == 2
        assert "none.onnx does not exist" in one_line(done.stderr)

    def test_model_that_is_none(self, tmp_path: Path) -> None:
        path = tmp_path / "m.onnx"
        path.write_bytes(b"\x08\x07" + bytes(range(256)))
        done = run_to_end("yolo", "--model", str(path))
        assert done.returncode == 2
        assert "cannot be loaded" in one_line(done.stderr)

    def test_layout_that_is_none(self, tmp_path: Path) -> None:
        path = models.save_constant(tmp_path / "m.onnx", np.zeros((1, 1000), np.float32))
        done = run_to_end("yolo", "--model", str(path))
        assert done.returncode == 2
        assert "[1, 1000]" in done.stderr.strip().splitlines()[-1]

    def test_port_taken(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as holder:
            port = str(holder.getsockname()[1])
            done = run_to_end("opencv", "--cascade-type", "face", "--port", port)
        assert done.returncode == 3
        assert f"port {port}" in one_line(done.stderr)

    def test_port_bound_but_not_listened_on_is_taken_by_who_listens_first(self) -> None:
        with closing(socket.socket()) as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            port = str(holder.getsockname()[1])
            assert run_to_end("opencv", "--cascade-type", "eye", "--port", port).returncode == 3

    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("yola",),
            ("yolo",),
            ("yolo", "--model", "m", "--confidence", "2"),
            ("yolo", "--model", "m", "--port", "70000"),
            ("opencv", "--cascade-type", "nose"),
            ("opencv", "--cascade-type", "face", "--host", "no.such.host.invalid"),
            ("opencv", "--cascade-type", "face", "--cascade-path", "none.xml"),
        ],
    )
    def test_wrong_arguments(self, arguments: tuple[str, ...]) -> None:
        done = run_to_end(*arguments)
        assert done.returncode == 2
        assert done.stderr.strip()
        assert "Traceback" not in done.stderr

    def test_help_names_the_runtimes(self) -> None:
        done = run_to_end("--help")
        assert done.returncode == 0
        assert "yolo" in done.stdout
        assert "--iou" in run_to_end("yolo", "--help").stdout


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Service]:
    """A detector that needs some tenths of a second, on one thread."""
    path = save_slow(tmp_path / "slow.onnx")
    with running(tmp_path, "yolo", "--model", str(path), "--threads", "1") as service:
        yield service


def save_slow(path: Path) -> Path:
    """A constant detector behind matrix products that take long whatever the picture."""
    side = 700
    products = [
        helper.make_node("MatMul", [f"m{i}", f"m{i}"], [f"p{i + 1}"]) for i in range(ROUNDS)
    ]
    calm = [
        helper.make_node("Clip", [f"p{i + 1}", "low", "high"], [f"m{i + 1}"]) for i in range(ROUNDS)
    ]
    constants = [
        helper.make_tensor("table", TensorProto.FLOAT, [1, 7, 126], models.columns().ravel()),
        helper.make_tensor("shape", TensorProto.INT64, [2], [side, side]),
        helper.make_tensor("none", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("low", TensorProto.FLOAT, [], [-1.0]),
        helper.make_tensor("high", TensorProto.FLOAT, [], [1.0]),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Expand", ["mean", "shape"], ["m0"]),
        *(node for pair in zip(products, calm, strict=True) for node in pair),
        helper.make_node("ReduceMean", [f"m{ROUNDS}"], ["end"], keepdims=0),
        helper.make_node("Mul", ["end", "none"], ["nothing"]),
        helper.make_node("Add", ["table", "nothing"], ["output0"]),
    ]
    return models.save(
        path,
        nodes,
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 7, 126])],
        constants,
        (models.HEIGHT, models.WIDTH),
        models.names_note(),
    )


def picture() -> bytes:
    stream = BytesIO()
    Image.new("RGB", (192, 64), (90, 90, 90)).save(stream, "PNG")
    return stream.getvalue()


def predict(service: Service) -> httpx.Response:
    """May be called from several threads: each call has a connection of its own."""
    headers = {"content-type": "image/png"}
    return service.client.post("/predict", content=picture(), headers=headers)


class TestEnd:
    def test_idle(self, tmp_path: Path) -> None:
        with running(tmp_path, "opencv", "--cascade-type", "face") as service:
            assert service.client.get("/health").status_code == 200  # stays connected
            assert service.stop() == 0

    def test_interrupt(self, tmp_path: Path) -> None:
        with running(tmp_path, "opencv", "--cascade-type", "face") as service:
            assert service.stop(signal.SIGINT) == 0

    def test_requests_under_way_are_answered(self, slow: Service) -> None:
        used = cpu_seconds(slow)
        with ThreadPoolExecutor(2) as pool:
            answers = [pool.submit(predict, slow) for _ in range(2)]
            wait_for(lambda: established(slow) >= 2 and cpu_seconds(slow) > used + 0.05)
            code = slow.stop()
            statuses = [answer.result().status_code for answer in answers]
        assert (code, statuses) == (0, [200, 200])


def test_health_answers_during_predictions(slow: Service) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(predict, slow) for _ in range(4)]
        wait_for(lambda: established(slow) >= 4)
        replies = 0
        while not all(answer.done() for answer in answers):
            reply = slow.client.get("/health")
            assert reply.status_code == 200
            replies += 1
        # Behind the predictions they would be answered one between two of them.
        assert replies > 2 * len(answers)
        assert [answer.result().status_code for answer in answers] == [200] * 4


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    ],
)
def test_what_is_no_http_is_refused_and_harms_nobody(tmp_path: Path, content: bytes) -> None:
    named = {"CNET_RUN_ID": "run-8"}
    with running(tmp_path, "opencv", "--cascade-type", "face", environment=named) as service:
        address = (service.client.base_url.host, service.client.base_url.port)
        with socket.create_connection(address, timeout=60) as connection:
            connection.sendall(content)
            answer = connection.recv(4096)
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))
        assert b"x-cnet-run: run-8\r\n" in answer
        headers = {"content-type": "image/jpeg"}
        body = PHOTOGRAPH.read_bytes()
        assert service.client.post("/predict", content=body, headers=headers).json()["count"] == 1


def established(service: Service) -> int:
    """Connections that clients hold to the service."""
    port = service.client.base_url.port
    return sum(
        c.status == psutil.CONN_ESTABLISHED and c.laddr.port == port
        for c in psutil.Process(service.process.pid).net_connections("tcp")
    )


def cpu_seconds(service: Service) -> float:
    """CPU time the service has used so far."""
    times = psutil.Process(service.process.pid).cpu_times()
    return float(times.user + times.system)
