"""Placement decisions per second of one core, with the update of the node, by strategy and nodes.

    python -m benchmarks.placement [--nodes 100 1000 10000] [--decisions 5000] [--rounds 3]

Nodes are of five sizes, a few MiB apart as real machines are. "filling" starts with empty nodes.
"full" starts with nodes that hold all they can; before every decision one workload somewhere ends,
so that what fits is hard to find. "spread app" places workloads of ten applications by label. The
median of the rounds is printed, and how much dearer a decision is at the most nodes than at the
fewest.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cnet.model.node import KnownNode, NodeState
from cnet.model.resources import GIB, MIB, Resources
from cnet.model.workload import Strategy, WorkloadSpec
from cnet.scheduler import NodeIndex

SIZES = tuple(
    Resources(cores * 1_000, gpus, memory * GIB, 500 * GIB)
    for cores, gpus, memory in ((4, 0, 16), (8, 0, 32), (16, 1, 64), (32, 2, 128), (64, 8, 512))
)
APPLICATIONS = 10
CASES: tuple[tuple[str, Strategy], ...] = (
    ("default", "default"),
    ("best_fit", "best_fit"),
    ("least_loaded", "least_loaded"),
    ("spread", "spread"),
    ("spread app", "spread"),
)


@dataclass(frozen=True, slots=True)
class Job:
    """A workload and the room it asks for."""

    spec: WorkloadSpec
    room: Resources
    labels: tuple[str, ...]


def jobs(dice: random.Random, count: int, *, labelled: bool) -> list[Job]:
    """Mixed: a tenth to four cores, a quarter to sixteen GiB, one in twenty wants a GPU."""
    made = []
    for _ in range(count):
        room = Resources(
            dice.choice((100, 250, 500, 1_000, 2_000, 4_000)),
            int(dice.random() < 0.05),
            dice.choice((256, 512, 1_024, 2_048, 4_096, 16_384)) * MIB,
            dice.choice((0, GIB)),
        )
        labels = {"app": f"a{dice.randrange(APPLICATIONS)}"} if labelled else {}
        spec = WorkloadSpec.model_validate(
            {"name": "w", "type": "process", "requirements": room.to_wire(), "labels": labels}
        )
        made.append(Job(spec, room, tuple(f"{key}={value}" for key, value in labels.items())))
    return made


def machines(dice: random.Random, count: int) -> list[KnownNode]:
    """One's own node, and others one to three links below."""
    made = []
    for number in range(count):
        size = dice.choice(SIZES)
        capacity = replace(size, memory=size.memory - dice.randrange(64) * MIB)
        state = NodeState(
            node_id=f"node-{number}",
            incarnation=1,
            seq=1,
            capacity=capacity,
            available=capacity,
            kinds=("process", "container", "mlmodel"),
        )
        if number == 0:
            made.append(KnownNode(state=state, node_type="local"))
        else:
            made.append(KnownNode(state=state, node_type="child", hops=1 + number % 3))
    return made


class Site:
    """Places jobs and ends them."""

    def __init__(self, nodes: int, strategy: Strategy, dice: random.Random) -> None:
        self.index = NodeIndex(machines(dice, nodes))
        self._strategy: Strategy = strategy
        self._dice = dice
        self.running: list[tuple[str, Job]] = []

    def place(self, job: Job) -> bool:
        """One decision, and the news of the node chosen."""
        chosen = self.index.best(job.spec, job.room, strategy=self._strategy, now=0.0)
        if chosen is None:
            return False
        self._change(chosen, job, 1)
        self.running.append((chosen, job))
        return True

    def end_one(self) -> None:
        """Any of them."""
        at = self._dice.randrange(len(self.running))
        self.running[at], self.running[-1] = self.running[-1], self.running[at]
        self._change(*self.running.pop(), -1)

    def _change(self, node_id: str, job: Job, by: int) -> None:
        node = self.index.get(node_id)
        if node is None:
            raise RuntimeError(f"{node_id} was chosen and is not known")
        state = node.state
        labels = state.workload_labels
        if job.labels:
            labels = dict(labels)
            for pair in job.labels:
                labels[pair] = labels.get(pair, 0) + by
        state = replace(
            state,
            seq=state.seq + 1,
            available=state.available + job.room if by < 0 else state.available - job.room,
            workloads=state.workloads + by,
            workload_labels=labels,
        )
        self.index.put(replace(node, state=state))


def rate(work: Callable[[], int]) -> float:
    """Decisions per second of CPU time of `work`, which returns how many it made."""
    begun = time.process_time()
    decided = work()
    return decided / (time.process_time() - begun)


def measure(nodes: int, case: str, strategy: Strategy, decisions: int) -> tuple[float, float]:
    """(decisions/s while filling, decisions/s when full)."""
    dice = random.Random(f"{nodes} {case}")
    site = Site(nodes, strategy, dice)
    labelled = case == "spread app"
    site.place(jobs(dice, 1, labelled=labelled)[0])  # makes the order of the strategy

    def fill() -> int:
        return sum(site.place(job) for job in jobs_to_fill)

    def churn() -> int:
        for job in jobs_to_churn:
            site.end_one()
            site.place(job)
        return len(jobs_to_churn)

    jobs_to_fill = jobs(dice, min(decisions, 5 * nodes), labelled=labelled)
    filling = rate(fill)
    # The rest without labels to go by: not what is measured, and it is most of the work.
    others = [
        replace(job, spec=job.spec.model_copy(update={"labels": {}}))
        for job in jobs(dice, 1_000, labelled=labelled)
    ]
    misses = 0
    while misses < 100:
        misses += sum(not site.place(job) for job in others)
    jobs_to_churn = jobs(dice, decisions, labelled=labelled)
    return filling, rate(churn)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--nodes", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--decisions", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{'decisions/s':14}{'':9}" + "".join(f"{n:>10,} nodes" for n in options.nodes))
    for case, strategy in CASES:
        rounds = [
            [measure(nodes, case, strategy, options.decisions) for nodes in options.nodes]
            for _ in range(options.rounds)
        ]
        for at, name in enumerate(("filling", "full")):
            print_row(f"{case:14}{name:9}", [[one[at] for one in row] for row in rounds])


def print_row(title: str, rounds: Sequence[Sequence[float]]) -> None:
    """Medians over the rounds, and the first by the last."""
    medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    cells = "".join(f"{median:16,.0f}" for median in medians)
    print(f"{title}{cells}   x{medians[0] / medians[-1]:.1f} dearer", flush=True)


if __name__ == "__main__":
    main()
