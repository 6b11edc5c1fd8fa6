"""`python -m cnet.simulator`: many seeds, a line for every one that breaks a promise."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from cnet.simulator.simulation import Report, run

KIB_PER_MIB = 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 when every promise held in every run, else 1 and how to see each again."""
    options = _parser().parse_args(arguments)
    began = time.monotonic()
    bad = events = starts = 0
    for seed, report in _reports(options):
        events += report.events
        starts += report.starts
        if not report.ok:
            bad += 1
            again = f"cnet simulate --nodes {options.nodes} --workloads {options.workloads}"
            faults = " --faults" if options.faults else ""
            _say(f"seed {seed}: {report.violation}")
            _say(f"  again: {again} --seed {seed}{faults}")
        elif options.seeds == 1:
            _say(f"seed {seed}: {report.summary}")
    lasted_s = time.monotonic() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // KIB_PER_MIB
    _say(
        f"{options.seeds} runs of {options.nodes} nodes and {options.workloads} workloads: "
        f"{bad} broke a promise; {events} events, {starts} starts in {lasted_s:.1f} s "
        f"({starts / lasted_s:.0f} starts/s, {memory} MiB)"
    )
    return 1 if bad else 0


def _reports(options: argparse.Namespace) -> Iterator[tuple[int, Report]]:
    seeds = range(options.seed, options.seed + options.seeds)
    one = partial(_run, options.nodes, options.workloads, options.faults)
    if options.jobs == 1:
        yield from ((seed, one(seed)) for seed in seeds)
        return
    with ProcessPoolExecutor(options.jobs) as processes:
        yield from zip(seeds, processes.map(one, seeds, chunksize=8), strict=True)


def _run(nodes: int, workloads: int, faults: bool, seed: int) -> Report:
    return run(nodes=nodes, workloads=workloads, seed=seed, faults=faults)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cnet.simulator", description=__doc__)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--workloads", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--seeds", type=int, default=1, help="how many runs, one per seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes to spread the runs over")
    parser.add_argument("--faults", action="store_true", help="lose, cut, kill, freeze")
    return parser
