"""YOLO predictions end to end (JPEG in, JSON out) against bare `session.run` of the same model.

    python -m benchmarks.yolo_predict [--model M.onnx] [--image I.jpg] [--rounds 5]

Rounds alternate between the service and the bare session in the same minute; medians of the
rounds are printed, and their ratios. "Bare" is the arrangement that is best without a service: one
session with all threads for one connection, one session with one thread called from as many
threads as there are CPUs for more. Without `--model` it serves a network of YOLO11n's shape.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import psutil

from benchmarks import yolo_standin
from benchmarks.load import Connection, Timing, drive, timing
from cnet.inference.images.pictures import decode
from cnet.inference.yolo.network import YoloNetwork

PHOTOGRAPH = Path(__file__).parents[1] / "examples" / "assets" / "astronaut.jpg"
CONNECTIONS = (1, 2, 8)
ROUND_S = 2.0
IDLE_S = 3.0  # a service returns free memory after two seconds
STAGES = ("decode", "preprocess", "inference", "postprocess")


@dataclass
class Round:
    """What one round of requests saw, and the service's own times of its stages."""

    timing: Timing
    stages_ms: dict[str, float]
    cpu_ms: float


@dataclass
class Figures:
    """All rounds of one number of connections and one request form."""

    service: list[Round] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    bare_cpu_ms: list[float] = field(default_factory=list)


class Bare:
    """`session.run` of the model on the blob of the picture, nothing around it."""

    def __init__(self, model: Path, picture: bytes, threads: int) -> None:
        network = YoloNetwork(model, threads=1)
        decoded = decode(picture, max_pixels=1 << 28)
        blob = network.prepare(decoded, network.fit(decoded.size))
        self._feed = {network.sessions.inputs[0].name: blob}
        self._threads = threads
        self._wide, self._narrow = _session(model, threads), _session(model, 1)

    def rate(self, connections: int, seconds: float) -> tuple[float, float]:
        """Runs per second, and milliseconds of CPU time one run costs."""
        used, started = time.process_time(), time.perf_counter()
        if connections == 1:
            rate = self._loop(self._wide, seconds)
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                rates = pool.map(lambda _: self._loop(self._narrow, seconds), range(self._threads))
                rate = sum(rates)
        runs = rate * (time.perf_counter() - started)
        return rate, (time.process_time() - used) / runs * 1000

    def _loop(self, session: ort.InferenceSession, seconds: float) -> float:
        session.run(None, self._feed)
        started, runs = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < seconds:
            session.run(None, self._feed)
            runs += 1
        return runs / elapsed


def _session(model: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@contextmanager
def service(
    model: Path, threads: int, runtime: Sequence[str] = ("yolo",)
) -> Iterator[tuple[str, psutil.Process, float]]:
    """Address and process of a running service, and the seconds until it was ready."""
    command = [sys.executable, "-m", "cnet.inference", *runtime, "--model", str(model)]
    with tempfile.TemporaryFile("w+") as log:
        started = time.perf_counter()
        process = subprocess.Popen([*command, "--threads", str(threads)], stderr=log)
        try:
            yield (
                _wait_for_address(process, log.fileno()),
                psutil.Process(process.pid),
                (time.perf_counter() - started),
            )
        finally:
            process.terminate()
            process.wait(10)


def _wait_for_address(process: subprocess.Popen[bytes], log: int) -> str:
    while process.poll() is None:
        found = re.search(rb"listening on (http://\S+)", os.pread(log, 65_536, 0))
        if found is not None:
            return found.group(1).decode()
        time.sleep(0.002)
    raise SystemExit(os.pread(log, 65_536, 0).decode())


def measure(
    url: str, process: psutil.Process, connections: int, body: bytes, content_type: str, count: int
) -> Round:
    """One round of `count` requests."""
    stages: defaultdict[str, list[float]] = defaultdict(list)

    async def one(connection: Connection, number: int) -> None:
        status, answer = await connection.request("POST", "/predict", body, content_type)
        if status != 200:
            raise SystemExit(f"request {number} was answered {status}: {answer.decode()}")
        for stage, milliseconds in json.loads(answer)["timings_ms"].items():
            stages[stage].append(milliseconds)

    before = process.cpu_times()
    latencies, elapsed = asyncio.run(drive(url, count=count, connections=connections, one=one))
    means = {stage: statistics.fmean(times) for stage, times in stages.items()}
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return Round(timing(latencies, elapsed), means, used / count * 1000)


def compare(
    url: str,
    process: psutil.Process,
    bare: Bare,
    forms: dict[str, tuple[bytes, str]],
    rounds: int,
) -> None:
    """Print the table: one line for each request form and number of connections."""
    print("time: bare runs per second / requests per second; cpu: CPU time of a request / of a run")
    print(
        f"{'form':<8}{'conn':>5}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'bare/s':>9}{'time':>7}"
        f"{'(range)':>13}{'cpu':>7}"
    )
    alone: list[Round] = []
    for connections in CONNECTIONS:
        figures = {form: Figures() for form in forms}
        for _ in range(rounds):
            rate, cpu_ms = bare.rate(connections, ROUND_S)
            for form, (body, content_type) in forms.items():
                count = max(connections * 2, int(rate * ROUND_S))
                found = measure(url, process, connections, body, content_type, count)
                figures[form].service.append(found)
                figures[form].bare.append(rate)
                figures[form].bare_cpu_ms.append(cpu_ms)
        for form, seen in figures.items():
            _print_line(form, connections, seen)
        if connections == 1:
            alone = figures["jpeg"].service
    _print_stages(alone)


def _print_line(form: str, connections: int, seen: Figures) -> None:
    def middle(of: Callable[[Round], float]) -> float:
        return statistics.median(of(each) for each in seen.service)

    ratios = [b / r.timing.per_second for b, r in zip(seen.bare, seen.service, strict=True)]
    costs = [r.cpu_ms / cpu for cpu, r in zip(seen.bare_cpu_ms, seen.service, strict=True)]
    print(
        f"{form:<8}{connections:>5}{middle(lambda r: r.timing.per_second):>9.1f}"
        f"{middle(lambda r: r.timing.p50_ms):>9.1f}{middle(lambda r: r.timing.p99_ms):>9.1f}"
        f"{statistics.median(seen.bare):>9.1f}{statistics.median(ratios):>7.2f}"
        f"{f'({min(ratios):.2f}-{max(ratios):.2f})':>13}{statistics.median(costs):>7.2f}"
    )


def _print_stages(rounds: list[Round]) -> None:
    whole = statistics.median(1000 / each.timing.per_second for each in rounds)
    print("\nshare of each stage, one connection, JPEG:")
    rest = whole
    for stage in STAGES:
        part = statistics.median(each.stages_ms[stage] for each in rounds)
        rest -= part
        print(f"  {stage:<12}{part:>8.2f} ms{part / whole:>8.1%}")
    print(f"  {'HTTP, client':<12}{rest:>8.2f} ms{rest / whole:>8.1%}")


def _default_picture() -> bytes:
    """The photograph at 810 x 1080, the size the goals were measured with."""
    image = decode(PHOTOGRAPH.read_bytes(), max_pixels=1 << 28).pixels
    return cv2.imencode(".jpg", cv2.resize(image, (810, 1080)))[1].tobytes()


def _memory(process: psutil.Process) -> str:
    used = process.memory_full_info()
    return f"PSS {used.pss / 1e6:.0f} MB, RSS {used.rss / 1e6:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", type=Path, help="default: a network of YOLO11n's shape")
    parser.add_argument("--image", type=Path, help="a JPEG; default: the photograph, 810 x 1080")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    picture = arguments.image.read_bytes() if arguments.image else _default_picture()
    text = json.dumps({"image": base64.b64encode(picture).decode()}).encode()
    forms = {"jpeg": (picture, "image/jpeg"), "base64": (text, "application/json")}
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or yolo_standin.write(Path(folder) / "yolo11n-shaped.onnx")
        size = np.round(model.stat().st_size / 1e6, 1)
        print(
            f"{model.name} ({size} MB), {arguments.threads} threads, load {os.getloadavg()[0]:.1f}"
        )
        bare = Bare(model, picture, arguments.threads)
        with service(model, arguments.threads) as (url, process, ready_s):
            print(f"ready after {ready_s * 1000:.0f} ms, {_memory(process)}")
            compare(url, process, bare, forms, arguments.rounds)
            print(f"\nafterwards {_memory(process)}, load {os.getloadavg()[0]:.1f}")
            time.sleep(IDLE_S)
            print(f"after {IDLE_S:g} s of rest {_memory(process)}")


if __name__ == "__main__":
    main()
