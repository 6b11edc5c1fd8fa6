"""`python -m tools.partitions`: exit code 0 when every invariant held, 1 when not."""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tools.partitions.campaign import Campaign, Figures, Plan
from tools.partitions.model import InvariantError
from tools.partitions.network import why_not

LOG_LINES = 25
STORY_LINES = 80


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, report."""
    options = _parser().parse_args(arguments)
    if (reason := why_not()) is not None:
        print(f"error: no network can be made here: {reason}", file=sys.stderr)
        return 2
    root = options.root or Path(tempfile.mkdtemp(prefix="cnet-partitions-"))
    try:
        seed = options.seed
        while (code := _run(options, seed, root / f"seed-{seed}-{time.time_ns()}")) == 0:
            if not options.soak:
                break
            seed += 1
    finally:
        if options.root is None:
            shutil.rmtree(root, ignore_errors=True)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.partitions", description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="decides every random choice")
    parser.add_argument("--faults", type=int, default=40, help="faults to deal out (default 40)")
    parser.add_argument("--soak", action="store_true", help="go on with the next seeds for ever")
    parser.add_argument(
        "--converge-s",
        type=float,
        default=2.0,
        help="seconds after healing within which all views must be right (default 2)",
    )
    parser.add_argument(
        "--root", type=Path, help="keep data directories and logs below this folder"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="print each fault")
    return parser


def _run(options: argparse.Namespace, seed: int, folder: Path) -> int:
    folder.mkdir(parents=True)
    plan = Plan(seed, options.faults, options.converge_s)
    say = (lambda line: print(line, flush=True)) if options.verbose else (lambda _: None)
    campaign = Campaign(plan, folder, say=say)
    began = time.monotonic()
    try:
        campaign.run()
    except InvariantError as violation:
        _report(violation, options, seed, campaign)
        return 1
    finally:
        print(_summary(seed, campaign, time.monotonic() - began), flush=True)
    return 0


def _summary(seed: int, campaign: Campaign, seconds: float) -> str:
    figures: Figures = campaign.figures
    converged, quiet = figures.converged or [0.0], figures.quiet or [0.0]
    return (
        f"partitions: seed {seed}, {figures.faults} faults, {figures.rounds} rounds, "
        f"{campaign.model.operations} operations ({campaign.model.unanswered} unanswered), "
        f"{seconds:.1f} s; healed to views right p50 {statistics.median(converged):.2f} s, "
        f"max {max(converged):.2f} s; to all work in place p50 {statistics.median(quiet):.2f} s, "
        f"max {max(quiet):.2f} s more"
    )


def _report(
    violation: InvariantError, options: argparse.Namespace, seed: int, campaign: Campaign
) -> None:
    print(f"VIOLATION {violation}")
    subject = campaign.model.find(violation.workload or "")
    if subject is not None:
        print(f"  workload {subject.id} of {subject.owner}: {subject.body}")
        for line in subject.story[-STORY_LINES:]:
            print(f"    {line}")
    for member in campaign.world.each():
        print(f"  last lines of {member.name}:")
        for line in member.log.splitlines()[-LOG_LINES:]:
            print(f"    {line}")
    print(
        f"  replay: python -m tools.partitions --seed {seed} --faults {options.faults} -v "
        "--root /tmp/partitions"
    )


if __name__ == "__main__":
    sys.exit(main())
