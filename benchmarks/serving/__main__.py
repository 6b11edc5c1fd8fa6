"""Serving a scikit-learn model, in one run with four peers that have environments of their own.

    python -m benchmarks.serving --envs DIR --make        (once: some minutes, and 2 GB)
    python -m benchmarks.serving --envs DIR [--rounds 3] [--seconds 3]

Every round starts each system, takes the time to its first right answer, drives it with `wrk` at
1, 16 and 64 connections, and weighs it. Medians of the rounds are printed, and ratios to the best
peer. A peer without an environment in DIR is left out, by name. Then `benchmarks.yolo_predict`
compares YOLO end to end with bare `session.run`, unless `--no-yolo` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import joblib
import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.serving.systems import (
    CLASS,
    CNET,
    HERE,
    PEERS,
    ROW,
    BrokenError,
    Running,
    System,
    started,
)

CONNECTIONS = (1, 16, 64)
WARM_UP_S = 1


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of `wrk` saw; times in milliseconds."""

    per_second: float
    cpu_ms: float
    """of the system, for one request"""
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Round:
    """One life of one system."""

    cold_start_s: float
    pss_mib: float
    loads: dict[int, Load]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--envs", type=Path, required=True, help="folder of the environments")
    parser.add_argument("--make", action="store_true", help="make them, and do no more")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each load")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="of the peers")
    parser.add_argument("--no-yolo", action="store_true")
    options = parser.parse_args()
    envs = options.envs.absolute()
    if options.make:
        make(envs)
        return
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    peers = [peer for peer in PEERS if not options.only or peer.name in options.only]
    for peer in peers:
        if not (envs / peer.name).is_dir():
            print(f"{peer.name}: no environment in {envs}, left out")
    systems = [CNET, *(peer for peer in peers if (envs / peer.name).is_dir())]
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}", flush=True)
    report(measure(systems, envs, rounds=options.rounds, seconds=options.seconds))
    if not options.no_yolo:
        subprocess.run([sys.executable, "-m", "benchmarks.yolo_predict"], check=True)


def make(envs: Path) -> None:
    """An environment for each peer, from its requirements."""
    for peer in PEERS:
        subprocess.run([sys.executable, "-m", "venv", envs / peer.name], check=True)
        pip = (envs / peer.name / "bin" / "python", "-m", "pip", "install", "-q", "-r")
        subprocess.run([*pip, HERE / "requirements" / f"{peer.name}.txt"], check=True)


def measure(
    systems: list[System], envs: Path, *, rounds: int, seconds: int
) -> dict[str, list[Round]]:
    """All rounds of every system, in alternation."""
    found: dict[str, list[Round]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="cnet-serving-") as name:
        folder = Path(name)
        train(folder)
        for number in range(rounds):
            for system in list(systems):
                try:
                    with started(system, envs, folder) as running:
                        done = one_round(running, folder, seconds)
                except BrokenError as error:
                    print(f"round {number + 1}: left out from now on: {error}", flush=True)
                    systems.remove(system)
                    continue
                found[system.name].append(done)
                rates = ", ".join(f"{load.per_second:.0f}" for load in done.loads.values())
                print(f"round {number + 1} {system.name}: {rates} requests/s", flush=True)
    return found


def train(folder: Path) -> None:
    """The same fitted pipeline, in a file for the peers and in one for us."""
    x, y = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(x, y)
    if model.predict([ROW]).tolist() != [CLASS]:
        raise RuntimeError("the pipeline says something else than expected")
    joblib.dump(model, folder / "model.joblib")
    skops.io.dump(model, folder / "model.skops")


def one_round(running: Running, folder: Path, seconds: int) -> Round:
    """Warm up, then each number of connections."""
    body = folder / "body.json"
    body.write_text(json.dumps(running.system.body))
    drive(running, body, 8, WARM_UP_S)
    loads = {number: drive(running, body, number, seconds) for number in CONNECTIONS}
    return Round(running.cold_start_s, running.pss_mib(), loads)


def drive(running: Running, body: Path, connections: int, seconds: int) -> Load:
    """One run of `wrk`; every answer must be a good one."""
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=30s"]
    script = f"--script={HERE / 'load.lua'}"
    used = running.cpu_s()
    done = subprocess.run(
        ["wrk", *options, script, running.url + running.system.path],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "BODY": str(body)},
    )
    used = running.cpu_s() - used
    told = json.loads(done.stdout.splitlines()[-1])
    if told["bad"] or not told["requests"]:
        raise BrokenError(f"{running.system.name}: {told}")
    count = told["requests"]
    return Load(count / told["seconds"], used * 1000 / count, told["p50_ms"], told["p99_ms"])


def report(found: dict[str, list[Round]]) -> None:
    """Medians as a table of Markdown, and the ratios."""
    print("\n| system | " + " | ".join(f"{number} connections" for number in CONNECTIONS) + end())
    print("|" + "---|" * (len(CONNECTIONS) + 3))
    medians: dict[str, dict[int, float]] = {}
    for name, rounds in found.items():
        medians[name], cells = {}, []
        for number in CONNECTIONS:
            loads = [each.loads[number] for each in rounds]
            rate = statistics.median(load.per_second for load in loads)
            p50, p99, cpu = (
                statistics.median(getattr(load, field) for load in loads)
                for field in ("p50_ms", "p99_ms", "cpu_ms")
            )
            medians[name][number] = rate
            cells.append(f"{rate:,.0f}/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms, CPU {cpu:.3f} ms")
        cold = statistics.median(each.cold_start_s for each in rounds)
        start = f"{cold:.2f} s (first {rounds[0].cold_start_s:.2f} s)"
        pss = statistics.median(each.pss_mib for each in rounds)
        print(f"| {name} | " + " | ".join(cells) + f" | {start} | {pss:.0f} MiB |")
    for number in CONNECTIONS:
        peers = {name: rates[number] for name, rates in medians.items() if name != CNET.name}
        if peers:
            best = max(peers, key=lambda name: peers[name])
            ratio = medians[CNET.name][number] / peers[best]
            print(f"{number} connections: {ratio:.1f} x the best peer ({best})")


def end() -> str:
    return " | cold start | PSS |"


if __name__ == "__main__":
    main()
