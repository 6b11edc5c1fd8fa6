"""What links cost, and how soon news and deaths get around: real agents on loopback.

    python -m benchmarks.links [--widths 1,3,6,12,28] [--changes 1000] [--deaths 20] [--idle-s 30]

News: a label of a node is changed through its own agent (`PATCH /api/nodes/{id}/labels`, durable
there first); the far agent is asked for that node without pause over a connection of its own. The
clock runs from the answer to the change until the first answer that shows it; the way to ask is
part of it. Changes come at random, and once more without a pause: then each waits for the 20 ms for
which a link gathers news. Deaths: from the signal until the parent's answer says `unreachable`.
Idle bytes: what `ss` counts for the connections between agents, payload and 52 bytes of headers a
segment.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from benchmarks.tree import Asking, Node, Tree, running_tree, wait_until

HEADERS_BYTES = 52  # IPv4 and TCP with timestamps
SEEN_WITHIN_S = 30.0
PAUSE_S = 0.1  # at most, between changes at random
OVERLOAD = 5  # busy processes per core
BURN = "while True: pass"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of all links together, both directions."""

    payload: int
    segments: int

    def wire_bytes_since(self, before: Traffic) -> int:
        """Payload and headers since an earlier look."""
        payload, segments = self.payload - before.payload, self.segments - before.segments
        return payload + segments * HEADERS_BYTES


def quantiles(values: list[float]) -> str:
    """Median, 99th percentile and maximum in milliseconds."""
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return (
        f"p50 {ordered[len(ordered) // 2] * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, "
        f"max {ordered[-1] * 1e3:.1f} ms"
    )


def news(
    changed: Node, observer: Node, count: int, pause_s: float
) -> tuple[list[float], list[float]]:
    """Seconds from the answer, and from the request, to the change being seen; `count` times.

    Between two changes there is a random pause of up to `pause_s`.
    """
    rng = random.Random(1)
    change, look = Asking(changed.port), Asking(observer.port)
    path = f"/api/nodes/{changed.name}"
    answered_to_seen, asked_to_seen = [], []
    for number in range(count):
        value = f"{pause_s}-{number}"
        time.sleep(rng.uniform(0, pause_s))
        asked = time.perf_counter()
        change("PATCH", f"{path}/labels", {"labels": {"change": value}})
        answered = time.perf_counter()
        while look("GET", path)["labels"].get("change") != value:
            if time.perf_counter() - answered > SEEN_WITHIN_S:
                raise RuntimeError(f"{observer.name} does not see what {changed.name} changed")
        seen = time.perf_counter()
        answered_to_seen.append(seen - answered)
        asked_to_seen.append(seen - asked)
    change.close()
    look.close()
    return answered_to_seen, asked_to_seen


def deaths(leaf: Node, count: int, number: signal.Signals) -> list[float]:
    """Seconds from a signal to the agent until its parent says that it cannot be reached."""
    if leaf.parent is None:
        raise ValueError(f"{leaf.name} has no parent")
    look = Asking(leaf.parent.port)

    def status() -> str:
        return str(look("GET", f"/api/nodes/{leaf.name}")["status"])

    found = []
    for _ in range(count):
        began = time.perf_counter()
        os.kill(leaf.pid, number)
        wait_until(lambda: status() == "unreachable", timeout_s=SEEN_WITHIN_S)
        found.append(time.perf_counter() - began)
        if number == signal.SIGSTOP:
            os.kill(leaf.pid, signal.SIGCONT)
        else:
            leaf.kill()
            leaf.launch()
            leaf.await_health()
        wait_until(lambda: status() == "active", timeout_s=SEEN_WITHIN_S)
    look.close()
    return found


def traffic(tree: Tree) -> tuple[Traffic, int]:
    """Of the connections between agents so far, and how many there are."""
    ports = {node.port for node in tree.nodes if node.children}
    pids = {node.pid for node in tree.nodes}
    text = subprocess.run(["ss", "-tniHOp"], capture_output=True, text=True, check=True).stdout
    payload = segments = count = 0
    for line in text.splitlines():
        words = line.split()
        local, pid = int(words[3].rpartition(":")[2]), re.search(r"pid=(\d+)", line)
        if words[0] != "ESTAB" or local not in ports or pid is None or int(pid[1]) not in pids:
            continue  # seen from the parent's end, each link once
        figures = dict(re.findall(r"(bytes_sent|bytes_received|segs_out|segs_in):(\d+)", line))
        payload += int(figures.get("bytes_sent", 0)) + int(figures.get("bytes_received", 0))
        segments += int(figures.get("segs_out", 0)) + int(figures.get("segs_in", 0))
        count += 1
    return Traffic(payload, segments), count


def processor_seconds(tree: Tree) -> float:
    """Of all agents so far."""
    times = [psutil.Process(node.pid).cpu_times() for node in tree.nodes]
    return sum(one.user + one.system for one in times)


def false_alarms(tree: Tree, seconds: float) -> tuple[int, int]:
    """Looks at the root's view under overload, and how many nodes they showed unreachable."""
    burners = [
        subprocess.Popen(["python3", "-c", BURN]) for _ in range(OVERLOAD * (os.cpu_count() or 1))
    ]
    looks = alarms = 0
    ask = Asking(tree.root.port)
    try:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            nodes = ask("GET", "/api/nodes")["nodes"]
            alarms += sum(node["status"] != "active" for node in nodes)
            looks += 1
            time.sleep(0.1)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
        ask.close()
    return looks, alarms


def main() -> None:
    """Measure and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", default="1,3,6,12,28", help="agents on each level")
    parser.add_argument("--changes", type=int, default=1_000, help="of a node, in all")
    parser.add_argument("--deaths", type=int, default=20)
    parser.add_argument("--idle-s", type=float, default=30)
    parser.add_argument("--overload-s", type=float, default=20)
    options = parser.parse_args()
    widths = [int(word) for word in options.widths.split(",")]
    print(f"load before: {os.getloadavg()[0]:.1f}", flush=True)
    began = time.monotonic()
    with running_tree(widths) as tree:
        leaf = tree.levels[-1][0]
        print(f"{sum(widths)} agents linked after {time.monotonic() - began:.1f} s", flush=True)
        _idle(tree, options.idle_s)
        for what, observer in (("child → parent", leaf.parent), ("leaf → root", tree.root)):
            if observer is None:
                raise ValueError("widths: at least two levels are needed")
            for how, pause_s in (("at random", PAUSE_S), ("without a pause", 0.0)):
                answered, asked = news(leaf, observer, options.changes // 4, pause_s)
                print(f"news {what}, {len(asked)} {how}: {quantiles(answered)} after the answer")
                print(f"  after the request: {quantiles(asked)}", flush=True)
        report: list[tuple[str, Callable[[], list[float]]]] = [
            ("killed", lambda: deaths(leaf, options.deaths, signal.SIGKILL)),
            ("frozen", lambda: deaths(leaf, options.deaths, signal.SIGSTOP)),
        ]
        for what, measure in report:
            print(
                f"{what} agent noticed, {options.deaths} times: {quantiles(measure())}", flush=True
            )
        looks, alarms = false_alarms(tree, options.overload_s)
        print(
            f"{OVERLOAD}× overload, {options.overload_s:g} s: {alarms} false alarms, {looks} looks"
        )


def _idle(tree: Tree, seconds: float) -> None:
    before, processor = traffic(tree)[0], processor_seconds(tree)
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    (after, links), used = traffic(tree), processor_seconds(tree) - processor
    wire = after.wire_bytes_since(before) / took / links
    payload = (after.payload - before.payload) / took / links
    print(
        f"idle, {links} links: {wire:.0f} B/s a link on the wire, {payload:.0f} B/s payload (both "
        f"directions together); {used / took / len(tree.nodes):.2%} of a core an agent",
        flush=True,
    )


if __name__ == "__main__":
    main()
