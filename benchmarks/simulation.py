"""A whole tree in one process: every agent's own view, books and decisions, without faults.

    python -m benchmarks.simulation [--trees 1000x10000 10000x100000] [--seed 1]

Each tree is nodes x workloads. A workload is given to some agent, placed, delegated, run, reported
and, when it has ended, reported again; three in ten are given to the root. "starts/s" is runs that
began, with all of that, per second of CPU time. "decision" is the median of what the root's own
choice of a node costs at the end, in microseconds.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Sequence

from cnet.model.workload import WorkloadStatus
from cnet.simulator.job import Job
from cnet.simulator.scenario import draw_spec
from cnet.simulator.simulation import Simulation

DECISIONS = 2_000
KIB_PER_MIB = 1024


def decision_us(simulation: Simulation) -> float:
    """The root decides, and nothing is done about it."""
    root = simulation.machines[0].agent
    if root is None:
        raise RuntimeError("the root has no agent")
    costs = []
    for number in range(DECISIONS):
        spec = draw_spec(simulation.timeline, simulation.machines, brief=True)
        job = Job(f"asked-{number}", spec, WorkloadStatus())
        began = time.perf_counter()
        root.coordinator.choose(job)
        costs.append(time.perf_counter() - began)
    return statistics.median(costs) * 1e6


def measure(nodes: int, workloads: int, seed: int) -> str:
    """One line of the table. Raises ViolationError when a promise is broken."""
    began = time.process_time()
    simulation = Simulation(nodes, seed)
    simulation.play(workloads, faults=False)
    lasted_s = time.process_time() - began
    starts, events = simulation.witness.starts_seen, simulation.timeline.events
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB
    return (
        f"{nodes:>7} {workloads:>10} {starts:>8} {lasted_s:>7.1f} {starts / lasted_s:>9.0f} "
        f"{events / lasted_s:>9.0f} {decision_us(simulation):>11.1f} {memory:>7.0f}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", nargs="+", default=["1000x10000", "10000x100000"])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    print("  nodes  workloads   starts  CPU s  starts/s  events/s decision us     MiB")
    for tree in options.trees:
        nodes, workloads = map(int, tree.split("x"))
        print(measure(nodes, workloads, options.seed), flush=True)


if __name__ == "__main__":
    main()
