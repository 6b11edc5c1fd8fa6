"""A leaf with its workloads, cut off from everyone, killed and started again while cut off.

    python -m tools.partitions.cut_off --seed 1

Nothing it runs may be touched: neither by the cut, nor the kills, nor when the link returns.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tools.chaos.agent import UnansweredError
from tools.chaos.model import InvariantError
from tools.partitions.evidence import Evidence, Run
from tools.partitions.network import why_not
from tools.partitions.topology import Edge, Host, Topology
from tools.partitions.world import World

THREE = Topology(
    hosts=(Host("root", 2), Host("middle", 2), Host("leaf", 32, inbound=False)),
    edges=(Edge("middle", "root"), Edge("leaf", "middle")),
)
WORKLOADS = 20
RUNNING_WITHIN_S = 60.0
SEEN_LOST_WITHIN_S = 10.0
BACK_WITHIN_S = 30.0
LOOK_AGAIN_S = 0.01


@dataclass
class Figures:
    """Seconds."""

    reattached: list[float] = field(default_factory=list)
    """from each start of the leaf's agent to all its workloads shown running with their pids"""
    lost: float | None = None
    """from the cut to all owners saying that the node is unreachable; None: it was killed first"""
    followed: float = 0.0
    """from healing to the owner showing all as running again"""


class CutOff:
    """One seeded run. The owners are drawn among all three agents."""

    def __init__(self, seed: int, folder: Path, *, workloads: int = WORKLOADS) -> None:
        self._rng = random.Random(seed)
        self._count = workloads
        self.world = World(THREE, folder, settings={})
        self._evidence = Evidence(folder / "evidence")
        self._owners: dict[str, str] = {}
        self.figures = Figures()

    def run(self) -> Figures:
        """Raises InvariantError. No process of it is left afterwards."""
        with self.world:
            try:
                self._run()
            except UnansweredError as error:
                raise InvariantError("answer", str(error)) from error
        return self.figures

    def _run(self) -> None:
        world, rng = self.world, self._rng
        world.start()
        world.await_views()
        self._submit()
        _await(self._all_running, RUNNING_WITHIN_S, "not all workloads run")
        _await(self._unwitnessed, RUNNING_WITHIN_S, "not all have begun")
        before = self._runs()
        cut = time.monotonic()
        undo = world.isolate("leaf")
        if rng.random() < 0.5:  # else it is killed before anyone has noticed the cut
            self._await_lost()
            self.figures.lost = time.monotonic() - cut
        for _ in range(rng.randint(1, 3)):
            world["leaf"].kill()
            time.sleep(rng.uniform(0, 0.3))  # the time for which it is dead
            self._reattach(before)
        self._await_lost()
        self._require_untouched(before, "while cut off")
        healed = time.monotonic()
        undo()
        _await(self._all_running, BACK_WITHIN_S, "not all workloads are followed again")
        self.figures.followed = time.monotonic() - healed
        world.await_views()
        self._require_untouched(before, "when the link returned")
        self._stop()

    def _submit(self) -> None:
        for _ in range(self._count):
            workload_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
            owner = self._rng.choice(THREE.names)
            body = {
                "id": workload_id,
                "name": f"leaf-{workload_id[:8]}",
                "type": "process",
                "node": "leaf",
                "config": self._evidence.config(),
                "requirements": {"cpu": 0.5, "memory": 32 * 1024**2},
            }
            status, answer = self.world[owner].call("POST", "/api/workloads?wait=false", body)
            if status != 201:
                raise InvariantError(
                    "answer", f"submit was answered {status} {answer}", workload_id
                )
            self._owners[workload_id] = owner

    def _all_running(self) -> str:
        for workload_id, owner in self._owners.items():
            item = self.world[owner].get(f"/api/workloads/{workload_id}")
            if item["status"] != "running" or item["status_reason"] is not None:
                return f"{owner} says {item['status']} ({item['status_detail']}) of {workload_id}"
        return ""

    def _unwitnessed(self) -> str:
        return ", ".join(key for key in self._owners if not self._evidence.runs(key))

    def _runs(self) -> dict[str, Run]:
        found = {}
        for workload_id in self._owners:
            runs = self._evidence.runs(workload_id)
            if len(runs) != 1:
                raise InvariantError("doubled", f"{len(runs)} runs of it began", workload_id)
            found[workload_id] = runs[0]
        return found

    def _reattach(self, before: dict[str, Run]) -> None:
        began = time.monotonic()
        self.world["leaf"].start()

        def missing() -> str:
            items = self.world["leaf"].workloads()
            for workload_id, run in before.items():
                item = items.get(workload_id)
                if item is None:
                    return f"the leaf does not know {workload_id}"
                if (item["status"], item.get("process_pid")) != ("running", run.process.pid):
                    return (
                        f"the leaf says {item['status']} ({item['status_detail']}) of {workload_id}"
                    )
            return ""

        _await(missing, BACK_WITHIN_S, "not all workloads are re-attached")
        self.figures.reattached.append(time.monotonic() - began)

    def _await_lost(self) -> None:
        far = {key: owner for key, owner in self._owners.items() if owner != "leaf"}

        def unaware() -> str:
            for workload_id, owner in far.items():
                item = self.world[owner].get(f"/api/workloads/{workload_id}")
                if (item["status"], item["status_reason"]) != ("running", "node_unreachable"):
                    return f"{owner} says {item['status']} ({item['status_reason']})"
            return ""

        _await(unaware, SEEN_LOST_WITHIN_S, "the owners do not notice the cut")

    def _require_untouched(self, before: dict[str, Run], when: str) -> None:
        for workload_id, run in self._runs().items():
            if run.process != before[workload_id].process or not run.lives():
                raise InvariantError(
                    "touched", f"{before[workload_id]} became {run} {when}", workload_id
                )

    def _stop(self) -> None:
        for workload_id, owner in self._owners.items():
            path = f"/api/workloads/{workload_id}"
            status, answer = self.world[owner].call("DELETE", path, timeout_s=BACK_WITHIN_S)
            if status not in (200, 202):
                raise InvariantError(
                    "answer", f"delete was answered {status} {answer}", workload_id
                )

        def held() -> str:
            if alive := [
                key for key in self._owners if any(r.lives() for r in self._evidence.runs(key))
            ]:
                return f"{len(alive)} still run"
            used = {member.name: member.used() for member in self.world.each()}
            return str(used) if any(any(one.values()) for one in used.values()) else ""

        _await(held, BACK_WITHIN_S, "deleted, but something is left")


def _await(problem: Callable[[], str], timeout_s: float, what: str) -> None:
    """Until there is no problem; then say which and raise InvariantError `late`."""
    deadline = time.monotonic() + timeout_s
    while words := problem():
        if time.monotonic() > deadline:
            raise InvariantError("late", f"{what} after {timeout_s:g} s: {words}")
        time.sleep(LOOK_AGAIN_S)


def main(arguments: list[str] | None = None) -> int:
    """Run seeds one after the other and say what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    options = parser.parse_args(arguments)
    if (reason := why_not()) is not None:
        print(f"error: no network can be made here: {reason}", file=sys.stderr)
        return 2
    for seed in range(options.seed, options.seed + options.seeds):
        with tempfile.TemporaryDirectory(prefix="cnet-cut-off-") as folder:
            try:
                figures = CutOff(seed, Path(folder)).run()
            except InvariantError as violation:
                print(f"VIOLATION {violation}\n  replay: --seed {seed}")
                return 1
        noticed = "" if figures.lost is None else f"noticed after {figures.lost:.2f} s, "
        words = ", ".join(f"{took:.2f}" for took in figures.reattached)
        print(
            f"cut-off: seed {seed}, {WORKLOADS} workloads, {noticed}"
            f"re-attached after {words} s, followed again {figures.followed:.2f} s after healing",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
