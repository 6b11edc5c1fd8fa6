"""`python -m tools.chaos`: exit code 0 when every invariant held, 1 with the story when not."""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tools.chaos import planted
from tools.chaos.campaign import Plan
from tools.chaos.model import InvariantError
from tools.chaos.power_cut import PowerCuts, why_not
from tools.chaos.processes import Campaign
from tools.chaos.signals import exit_when_asked

COMMAND = "python -m tools.chaos"


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, report."""
    options = _parser().parse_args(arguments)
    if options.plant == "no_fsync" and not options.power_cuts:
        options.power_cuts = 20  # kill -9 cannot show it
    if options.power_cuts and (reason := why_not()) is not None:
        print(f"error: power cuts cannot be made here: {reason}", file=sys.stderr)
        return 2
    exit_when_asked()
    root = options.root or Path(tempfile.mkdtemp(prefix="cnet-chaos-"))
    folder = root / f"seed-{options.seed}-{time.time_ns()}"
    folder.mkdir(parents=True)
    try:
        code = _cut_power(options, folder) if options.power_cuts else _kill(options, folder)
    finally:
        if options.root is None:
            shutil.rmtree(root, ignore_errors=True)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="decides every random choice")
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs to deal out (default 50)")
    parser.add_argument(
        "--power-cuts", type=int, default=0, help="instead of kills: cut the power N times (root)"
    )
    parser.add_argument(
        "--root", type=Path, help="keep data directories and logs below this folder"
    )
    parser.add_argument(
        "--plant", choices=sorted(planted.BUGS), help="run an agent with this bug put into it"
    )
    return parser


def _kill(options: argparse.Namespace, folder: Path) -> int:
    campaign = Campaign(Plan(options.seed, options.kills, options.plant), folder)
    began = time.monotonic()
    try:
        campaign.run()
    except InvariantError as violation:
        campaign.report(violation, COMMAND)
        return 1
    finally:
        nemesis, starts = campaign.nemesis, campaign.agent.start_seconds
        print(
            f"chaos: seed {options.seed}, {nemesis.kills} kills, {nemesis.restarts} restarts, "
            f"{campaign.model.operations} operations, {campaign.checker.checks} checks, "
            f"{time.monotonic() - began:.1f} s; agent start to healthy "
            f"p50 {statistics.median(starts or [0]):.2f} s, max {max(starts or [0]):.2f} s",
            flush=True,
        )
    return 0


def _cut_power(options: argparse.Namespace, folder: Path) -> int:
    cuts = PowerCuts(options.seed, options.power_cuts, folder, plant=options.plant)
    began = time.monotonic()
    try:
        cuts.run()
    except InvariantError as violation:
        plant = f" --plant {options.plant}" if options.plant else ""
        replay = f"{COMMAND} --seed {options.seed} --power-cuts {options.power_cuts}{plant}"
        print(f"VIOLATION {violation}\n  replay: {replay}")
        return 1
    finally:
        print(
            f"chaos: seed {options.seed}, {cuts.cuts} power cuts, {cuts.acknowledged} operations "
            f"acknowledged before one, {time.monotonic() - began:.1f} s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
