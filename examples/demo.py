"""Four cities, two inference services, real predictions, and nothing left behind.

Brings up the agents of `configs/` on free ports: jiangsu, which has hardly any room, its child
nanjing, and nanjing's peers suqian and changzhou. Everything is then asked of jiangsu. The face
detector fits there and stays; the shapes detector goes to nanjing, which fetches the model from
jiangsu; a process is pinned to suqian.
A photograph and generated pictures are sent through jiangsu, what is found is compared with what
is there, and everything is stopped. Exits with 0 only if all of that went right.

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import psutil
from demo_pictures import is_right, questions

from cnet.cli.drawing import label_of, save_annotated
from cnet.cli.local import LocalCluster, free_ports, read_members
from cnet.client import AgentClient, JsonObject, predict
from cnet.client.data import Source
from cnet.errors import CnetError

HERE = Path(__file__).resolve().parent
CONFIGS = HERE.parent / "configs"
SHAPES_MODEL = HERE / "ml_models" / "shapes_yolo.onnx"
OUTPUT = Path("demo-output")

ROOT, CHILD, PEER = "jiangsu", "nanjing", "suqian"
NEWS_TIMEOUT_S = 10.0
END_TIMEOUT_S = 30.0
GIB, MIB = 1024**3, 1024**2


class DemoError(Exception):
    """Something did not go as it must; the sentence says what."""


@dataclass(frozen=True)
class Cities:
    """The agents that are up, and where they keep their things."""

    cluster: LocalCluster
    folder: Path
    urls: dict[str, str]

    @property
    def root_url(self) -> str:
        return self.urls[ROOT]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--keep", action="store_true", help="leave agents and services running")
    keep = parser.parse_args().keep
    signal.signal(signal.SIGTERM, _interrupt)
    began = time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="cnet-demo-"))
    try:
        with started_cities(folder, keep=keep) as cities, AgentClient(cities.root_url) as client:
            stored = store_model(client)
            services = deploy(client)
            show_quota_at_root(client)
            cnet(cities, "nodes")
            wrong = ask_all(services)
            cnet(cities, "predict", "shapes", str(picture_file(cities.folder)))
            process = run_far_process(client)
            if keep:
                explain_keeping(cities)
            else:
                stop_workloads(client, [*services.values(), process, stored])
                end_cities(cities)
        if wrong:
            raise DemoError(f"{wrong} of the answers are not what is on the pictures")
    except (DemoError, CnetError) as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; everything has been stopped", file=sys.stderr)
        return 130
    print(f"demo finished in {time.perf_counter() - began:.1f} s, all as expected")
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


# --- agents -------------------------------------------------------------------------------------


@contextmanager
def started_cities(folder: Path, *, keep: bool) -> Iterator[Cities]:
    """The agents, each in a session of its own, so that Ctrl-C reaches this program only.

    Unless the block succeeds with `keep`, nothing of them is left afterwards, whatever happened;
    after a failure the end of their logs is shown.
    """
    temporary = folder / "tmp"  # what libraries drop there goes away with the rest
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    cluster = LocalCluster(folder)
    try:
        yield bring_up(cluster, folder)
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt):
            show_logs(folder)
        clear_away(cluster, folder)
        raise
    if not keep:
        clear_away(cluster, folder)


def bring_up(cluster: LocalCluster, folder: Path) -> Cities:
    """All agents, on ports that nobody uses, and linked."""
    began = time.perf_counter()
    names = [member.node_id for member in read_members(CONFIGS)]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    members = read_members(CONFIGS, data_dir=folder / "data", ports=ports)
    cluster.up(members, told=lambda line: print(f"agent    {line}", flush=True))
    print(f"cluster  all see each other after {time.perf_counter() - began:.2f} s", flush=True)
    urls = {each.process.node_id: each.process.url for each in cluster.status()}
    return Cities(cluster, folder, urls)


def clear_away(cluster: LocalCluster, folder: Path) -> None:
    """End the agents with their workloads; kill what does not end; remove the folder."""
    if folder.exists():
        try:
            cluster.down(keep_workloads=False, told=lambda _line: None)
        except CnetError as error:
            print(f"not ended as it should be: {error}", file=sys.stderr)
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


def show_logs(folder: Path, *, lines: int = 10) -> None:
    for log_file in sorted((folder / "logs").glob("*.log")):
        print(f"--- the last {lines} lines of {log_file.stem}", file=sys.stderr)
        text = log_file.read_text(errors="replace")
        print("\n".join(text.splitlines()[-lines:]), file=sys.stderr)


def explain_keeping(cities: Cities) -> None:
    print(f"\nThe cities stay up; {ROOT}'s API is described at {cities.root_url}/docs")
    print(f"  look:   cnet --agent {cities.root_url} nodes")
    print(f"  stop:   cnet cluster down --dir {cities.folder}; rm -r {cities.folder}")
    print("          (the services end with them)")


def cnet(cities: Cities, *arguments: str) -> None:
    """Run `cnet` against the root as a person would, and show it."""
    print(f"\n$ cnet {' '.join(arguments)}", flush=True)
    argv = [sys.executable, "-m", "cnet", "--agent", cities.root_url, *arguments]
    if (code := subprocess.run(argv, check=False).returncode) != 0:
        raise DemoError(f"cnet {arguments[0]} ended with code {code}")


# --- workloads ----------------------------------------------------------------------------------


def store_model(client: AgentClient) -> JsonObject:
    """The model of the shapes detector, on the root; whoever is to serve it fetches it."""
    source = Source(file=SHAPES_MODEL, path=SHAPES_MODEL.name)
    config = {"data_key": "shapes"}
    done = client.data.upload([source], tree=False, name=SHAPES_MODEL.name, config=config)
    print(f"data     {SHAPES_MODEL.name} is data://{done['data_key']} on {ROOT}", flush=True)
    workload: JsonObject = done["workload"]
    return workload


def deploy(client: AgentClient) -> dict[str, JsonObject]:
    """Both services, given to the root, ready to answer, and where they belong."""
    specs: list[tuple[str, dict[str, Any]]] = [
        (
            ROOT,
            {
                "name": "faces",
                "type": "opencv",
                "config": {"cascade_type": "face"},
                "requirements": {"cpu": 0.5, "memory": 512 * MIB},
            },
        ),
        (
            CHILD,
            {
                "name": "shapes",
                "type": "mlmodel",
                "config": {"model_type": "yolo", "model_path": "data://shapes"},
                "requirements": {"cpu": 2, "memory": GIB},
            },
        ),
    ]
    services = {}
    for expected, spec in specs:
        began = time.perf_counter()
        workload = client.submit(spec)
        if workload["status"] != "running":
            tail = "\n  ".join(workload.get("log_tail") or ())
            raise DemoError(
                f"{spec['name']} is {workload['status']}: {workload['status_detail']}\n  {tail}"
            )
        require_node(workload, expected)
        require_reachable_here(client, workload)
        services[workload["name"]] = workload
        print(
            f"deploy   {workload['name']:<7} given to {ROOT}, ready on {workload['node_id']} "
            f"in {time.perf_counter() - began:.2f} s at {workload['endpoint']}",
            flush=True,
        )
    return services


def require_node(workload: JsonObject, expected: str) -> None:
    if workload["node_id"] != expected:
        raise DemoError(f"{workload['name']} is on {workload['node_id']}, not on {expected}")


def require_reachable_here(client: AgentClient, workload: JsonObject) -> None:
    """A service on another node is asked by way of the agent that took it."""
    there = urlsplit(workload["endpoint"])
    by_agent = there.port == urlsplit(client.url).port and there.path.startswith("/services/")
    if workload["node_id"] != ROOT and not by_agent:
        raise DemoError(f"the endpoint {workload['endpoint']} is not at {client.url}")


def run_far_process(client: AgentClient) -> JsonObject:
    """A process pinned to a peer of the child: started, watched and read through the root."""
    spec = {
        "name": "far",
        "type": "process",
        "node": PEER,
        "requirements": {"cpu": 1, "memory": 64 * MIB},
        "config": {"command": "sh", "args": ["-c", "echo six times seven is $((6 * 7))"]},
    }
    workload = client.submit(spec)
    workload = client.wait_for(workload["id"], timeout=END_TIMEOUT_S)
    require_node(workload, PEER)
    logged = client.logs(workload["id"])["logs"]
    if workload["status"] != "completed" or logged != ["six times seven is 42"]:
        raise DemoError(f"far is {workload['status']} and wrote {logged}")
    print(f"\nprocess  far given to {ROOT}, {workload['status']} on {PEER}; its log: {logged[0]}")
    return workload


def stop_workloads(client: AgentClient, workloads: Sequence[JsonObject]) -> None:
    """Delete all and make sure that they are gone and their room is free again, everywhere."""
    for workload in workloads:
        client.delete(workload["id"])
    for workload in workloads:
        pid = workload.get("process_pid")
        if pid is not None and psutil.pid_exists(pid):
            raise DemoError(f"process {pid} outlived its workload")
    wait_for_news(
        lambda: not any(any(used.values()) for used in used_by_node(client).values()),
        lambda: f"quota is still held: {used_by_node(client)}",
    )
    print(f"quota    after:  nothing is held on {', '.join(sorted(used_by_node(client)))}")


def end_cities(cities: Cities) -> None:
    cities.cluster.down(keep_workloads=True, told=print)  # there are none any more
    deadline = time.monotonic() + END_TIMEOUT_S
    while left := processes_of(cities.folder):
        if time.monotonic() > deadline:
            raise DemoError(f"still there: {[process.pid for process in left]}")
        time.sleep(0.02)
    for url in cities.urls.values():
        if answers(url):
            raise DemoError(f"{url} is still open")
    shutil.rmtree(cities.folder)
    print("stopped  no process, port, quota or temporary file is left")


def answers(url: str) -> bool:
    """Whether something accepts connections there."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port or 80), timeout=2):
            return True
    except OSError:
        return False


def show_quota_at_root(client: AgentClient) -> None:
    """The root must know what its child holds now."""
    began = time.perf_counter()
    wait_for_news(
        lambda: used_by_node(client)[CHILD]["cpu"] == 2,
        lambda: f"{ROOT} does not know what is held on {CHILD}: {used_by_node(client)}",
    )
    elapsed_ms = 1000 * (time.perf_counter() - began)
    held = {name: used["cpu"] for name, used in used_by_node(client).items()}
    print(
        f"quota    during: {held[ROOT]:g} cores held on {ROOT} and {held[CHILD]:g} on {CHILD}, "
        f"as {ROOT} knows after {elapsed_ms:.0f} ms"
    )


def used_by_node(client: AgentClient) -> dict[str, dict[str, float]]:
    return {node["node_id"]: node["used"] for node in client.nodes()["nodes"]}


def wait_for_news(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """News of other nodes take milliseconds, but they do take them."""
    deadline = time.monotonic() + NEWS_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise DemoError(what())
        time.sleep(0.005)


# --- pictures -----------------------------------------------------------------------------------


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
    print(f"annotated pictures are in {OUTPUT.resolve()}")
    return wrong


def picture_file(folder: Path) -> Path:
    """A picture of shapes to send from the command line."""
    picture = next(each for each in questions() if each.service == "shapes")
    file = folder / f"{picture.name}.png"
    file.write_bytes(picture.image)
    return file


def _counted(labels: Iterator[str] | Sequence[str]) -> str:
    return ", ".join(f"{count} {label}" for label, count in sorted(Counter(labels).items()))


if __name__ == "__main__":
    sys.exit(main())
