"""One agent, two inference services, real predictions, and nothing left behind.

Starts an agent of its own (temporary data directory, free port), deploys OpenCV face detection and
the shapes detector, sends them a photograph and generated pictures, compares what they find with
what is there, and stops everything. Exits with 0 only if all of that went right.

    python examples/demo.py [--keep]        (or: make demo, make demo KEEP=1)
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import psutil
from ml_models.shapes_data import CLASSES, generate
from PIL import Image

from cnet.cli.drawing import label_of, save_annotated
from cnet.client import AgentClient, JsonObject, predict

HERE = Path(__file__).resolve().parent
PHOTOGRAPH = HERE / "assets" / "astronaut.jpg"
SHAPES_MODEL = HERE / "ml_models" / "shapes_yolo.onnx"
OUTPUT = Path("demo-output")

# Training never sees these. They are pictures that the detector gets wholly right with a margin;
# so it does with about two of three, and ml_models/evaluate_shapes.py says how well over all.
HELD_OUT_SEEDS = (1_000_000, 1_000_005, 1_000_015, 1_000_035, 1_000_037)
LEAST_IOU = 0.5
START_TIMEOUT_S = 30.0
END_TIMEOUT_S = 30.0
MIB = 1024**2


class DemoError(Exception):
    """Something did not go as it must; the sentence says what."""


@dataclass(frozen=True)
class Question:
    """A picture and what is on it; `truth` is None where only the labels are known."""

    name: str
    service: str
    image: bytes
    labels: tuple[str, ...]
    truth: tuple[tuple[int, int, int, int], ...] | None


@dataclass(frozen=True)
class Agent:
    """The agent's process and where it keeps its things."""

    process: subprocess.Popen[bytes]
    folder: Path
    url: str

    @property
    def log_file(self) -> Path:
        return self.folder / "agent.log"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--keep", action="store_true", help="leave the agent and services running")
    keep = parser.parse_args().keep
    signal.signal(signal.SIGTERM, _interrupt)
    began = time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="cnet-demo-"))
    try:
        with started_agent(folder, keep=keep) as agent, AgentClient(agent.url) as client:
            show_quota(client, "before")
            services = deploy(client)
            show_quota(client, "during")
            wrong = ask_all(services)
            if keep:
                explain_keeping(agent)
            else:
                stop_workloads(client, services)
                end_agent(agent)
        if wrong:
            raise DemoError(f"{wrong} of the answers are not what is on the pictures")
    except DemoError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; everything has been stopped", file=sys.stderr)
        return 130
    print(f"demo finished in {time.perf_counter() - began:.1f} s, all as expected")
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


# --- agent --------------------------------------------------------------------------------------


@contextmanager
def started_agent(folder: Path, *, keep: bool) -> Iterator[Agent]:
    """An agent in a session of its own, so that Ctrl-C reaches this program only.

    Unless the block succeeds with `keep`, nothing of the agent is left afterwards, whatever
    happened; after a failure the end of its log is shown.
    """
    began = time.perf_counter()
    process = launch(folder)
    try:
        agent = Agent(process, folder, url=wait_healthy(process, folder))
        print(f"agent    healthy at {agent.url} after {time.perf_counter() - began:.2f} s")
        yield agent
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt):
            show_log(folder / "agent.log")
        clear_away(process, folder)
        raise
    if not keep:
        clear_away(process, folder)


def launch(folder: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "cnet", "agent", "--port", "0", "--log-format", "text"]
    argv += ["--data-dir", str(folder / "data"), "--url-file", str(folder / "url")]
    argv += ["--stop-workloads-on-exit"]
    temporary = folder / "tmp"  # what libraries drop there goes away with the rest
    temporary.mkdir()
    with (folder / "agent.log").open("wb") as log:
        return subprocess.Popen(
            argv,
            env=os.environ | {"TMPDIR": str(temporary)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_healthy(process: subprocess.Popen[bytes], folder: Path) -> str:
    """The URL, which the agent writes once it is healthy."""
    url_file = folder / "url"
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoError(f"the agent ended at once, with code {process.returncode}")
        if url_file.exists() and (url := url_file.read_text().strip()):
            return url
        time.sleep(0.01)
    raise DemoError(f"the agent is not healthy after {START_TIMEOUT_S:g} s")


def clear_away(process: subprocess.Popen[bytes], folder: Path) -> None:
    """End the agent, which stops its workloads; kill what does not end; remove its folder."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for left in processes_of(folder):
        print(f"killing process {left.pid}, which is still there", file=sys.stderr)
        left.kill()
    shutil.rmtree(folder, ignore_errors=True)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Living processes that name the folder in their command line or work inside it."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.cwd()]
            if process.status() != psutil.STATUS_ZOMBIE and any(str(folder) in w for w in words):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def show_log(log_file: Path, *, lines: int = 20) -> None:
    if log_file.exists():
        print(f"--- the agent's last {lines} log lines", file=sys.stderr)
        text = log_file.read_text(errors="replace")
        print("\n".join(text.splitlines()[-lines:]), file=sys.stderr)


def explain_keeping(agent: Agent) -> None:
    print(f"\nThe agent stays up at {agent.url}; its API is described at {agent.url}/docs")
    print(f"  look:   cnet --agent {agent.url} ps")
    print(f"  data:   {agent.folder}")
    pid = agent.process.pid
    print(f"  stop:   kill {pid}; tail --pid={pid} -f /dev/null; rm -r {agent.folder}")
    print("          (the services end with it)")


# --- workloads ----------------------------------------------------------------------------------


def deploy(client: AgentClient) -> dict[str, JsonObject]:
    """Both services, ready to answer."""
    room = {"cpu": 0.5, "memory": 512 * MIB}
    specs: list[dict[str, Any]] = [
        {"name": "faces", "type": "opencv", "config": {"cascade_type": "face"}},
        {
            "name": "shapes",
            "type": "mlmodel",
            "config": {"model_type": "yolo", "model_path": str(SHAPES_MODEL)},
        },
    ]
    services = {}
    for spec in specs:
        began = time.perf_counter()
        workload = client.submit(spec | {"requirements": room})
        if workload["status"] != "running":
            tail = "\n  ".join(workload.get("log_tail") or ())
            raise DemoError(
                f"{spec['name']} is {workload['status']}: {workload['status_detail']}\n  {tail}"
            )
        services[workload["name"]] = workload
        print(
            f"deploy   {workload['name']:<7} ready in {time.perf_counter() - began:.2f} s "
            f"at {workload['endpoint']} (pid {workload['process_pid']})"
        )
    return services


def stop_workloads(client: AgentClient, services: dict[str, JsonObject]) -> None:
    """Delete both and make sure that they are gone and their room is free again."""
    for workload in services.values():
        client.delete(workload["id"])
    for workload in services.values():
        if psutil.pid_exists(workload["process_pid"]):
            raise DemoError(f"process {workload['process_pid']} outlived its workload")
        if answers(workload["endpoint"]):
            raise DemoError(f"{workload['endpoint']} is still open")
    used = show_quota(client, "after")
    if any(used.values()):
        raise DemoError(f"quota is still held: {used}")


def end_agent(agent: Agent) -> None:
    agent.process.terminate()
    if agent.process.wait(END_TIMEOUT_S) != 0:
        raise DemoError(f"the agent ended with code {agent.process.returncode}")
    deadline = time.monotonic() + END_TIMEOUT_S
    while left := processes_of(agent.folder):
        if time.monotonic() > deadline:
            raise DemoError(f"still there: {[process.pid for process in left]}")
        time.sleep(0.02)
    if answers(agent.url):
        raise DemoError(f"{agent.url} is still open")
    shutil.rmtree(agent.folder)
    print("stopped  no process, port, quota or temporary file is left")


def answers(url: str) -> bool:
    """Whether something accepts connections there."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port or 80), timeout=2):
            return True
    except OSError:
        return False


def show_quota(client: AgentClient, when: str) -> dict[str, float]:
    """Print what is held; returns the `used` object."""
    resources = client.resources()
    used, total = resources["used"], resources["total"]
    print(
        f"quota    {when + ':':<7} cpu {used['cpu']:g} of {total['cpu']:g} cores, "
        f"memory {used['memory'] / MIB:.0f} of {total['memory'] / MIB:.0f} MiB"
    )
    return dict(used)


# --- pictures -----------------------------------------------------------------------------------


def questions() -> list[Question]:
    """The photograph, and generated pictures that the detector has never seen."""
    found = [Question(PHOTOGRAPH.name, "faces", PHOTOGRAPH.read_bytes(), ("face",), None)]
    for seed in HELD_OUT_SEEDS:
        picture = generate(seed)
        encoded = BytesIO()
        Image.fromarray(picture.image[:, :, ::-1]).save(encoded, "PNG")  # BGR to RGB
        labels = tuple(CLASSES[label] for label in picture.labels)
        boxes = tuple((int(x), int(y), int(w), int(h)) for x, y, w, h in picture.boxes)
        found.append(Question(f"shapes-{seed}", "shapes", encoded.getvalue(), labels, boxes))
    return found


def ask_all(services: dict[str, JsonObject]) -> int:
    """Ask every question and print expected and found side by side; how many answers are wrong."""
    OUTPUT.mkdir(exist_ok=True)
    wrong = 0
    print(f"\n{'picture':<15} {'expected':<42} {'found':<42} time")
    for question in questions():
        began = time.perf_counter()
        answer = predict(services[question.service]["endpoint"], question.image)
        elapsed_ms = 1000 * (time.perf_counter() - began)
        copy = OUTPUT / f"{Path(question.name).stem}.png"
        save_annotated(question.image, answer["detections"], copy)
        right = is_right(question, answer["detections"])
        wrong += not right
        print(
            f"{question.name:<15} {_counted(question.labels):<42} "
            f"{_counted(label_of(each) for each in answer['detections']):<42} "
            f"{elapsed_ms:4.0f} ms  {'ok' if right else 'WRONG'}"
        )
    print(f"annotated pictures are in {OUTPUT.resolve()}\n")
    return wrong


def is_right(question: Question, detections: Sequence[JsonObject]) -> bool:
    """The same labels the same number of times, and each true box met by one of its label."""
    if Counter(question.labels) != Counter(label_of(each) for each in detections):
        return False
    if question.truth is None:
        return True
    unused = list(detections)
    for label, box in zip(question.labels, question.truth, strict=True):
        rivals = [each for each in unused if label_of(each) == label]
        best = max(rivals, key=lambda each: iou(box, each["bbox"]))
        if iou(box, best["bbox"]) < LEAST_IOU:
            return False
        unused.remove(best)
    return True


def iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two boxes `x, y, width, height`; 0–1."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)


def _counted(labels: Iterator[str] | Sequence[str]) -> str:
    return ", ".join(f"{count} {label}" for label, count in sorted(Counter(labels).items()))


if __name__ == "__main__":
    sys.exit(main())
