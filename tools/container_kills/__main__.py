"""`python -m tools.container_kills`: exit code 0 when every invariant held, 1 with the story.

Needs what `tests.support.engine` needs: root and a Docker engine's programs. The engine is one of
its own.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.support.engine import missing

from tools.chaos import planted
from tools.chaos.model import InvariantError
from tools.chaos.signals import exit_when_asked
from tools.container_kills.campaign import Campaign, Plan

COMMAND = "python -m tools.container_kills"


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, report."""
    options = _parser().parse_args(arguments)
    if (why_not := missing()) is not None:
        print(f"error: no container engine can be started here: {why_not}", file=sys.stderr)
        return 2
    exit_when_asked()
    root = options.root or Path(tempfile.mkdtemp(prefix="cnet-containers-"))
    folder = root / f"seed-{options.seed}-{time.time_ns()}"
    folder.mkdir(parents=True)
    plan = Plan(
        options.seed,
        options.kills,
        options.plant,
        engine_restarts=options.engine_restarts,
        live_restore=options.live_restore,
    )
    try:
        return _run(Campaign(plan, folder))
    finally:
        if options.root is None:
            shutil.rmtree(root, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="decides every random choice")
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs of the agent (default 50)")
    parser.add_argument(
        "--engine-restarts", type=int, default=3, help="ends of the engine (default 3)"
    )
    parser.add_argument(
        "--live-restore", action="store_true", help="an engine whose containers outlive it"
    )
    parser.add_argument("--root", type=Path, help="keep data and logs below this folder")
    parser.add_argument(
        "--plant",
        choices=sorted(planted.CONTAINER_BUGS),
        help="run an agent with this bug put into it",
    )
    return parser


def _run(campaign: Campaign) -> int:
    began = time.monotonic()
    try:
        campaign.run()
    except InvariantError as violation:
        more = " --live-restore" if campaign.plan.live_restore else ""
        campaign.report(
            violation, f"{COMMAND} --engine-restarts {campaign.plan.engine_restarts}{more}"
        )
        return 1
    finally:
        nemesis, starts = campaign.nemesis, campaign.agent.start_seconds
        print(
            f"container_kills: seed {campaign.plan.seed}, {nemesis.kills} kills, "
            f"{nemesis.engine_restarts} engine restarts, {campaign.model.operations} operations, "
            f"{campaign.checker.runs} runs, {campaign.checker.checks} checks, "
            f"{campaign.checker.litter} left by the engine, "
            f"{time.monotonic() - began:.1f} s; agent start to healthy "
            f"p50 {statistics.median(starts or [0]):.2f} s, max {max(starts or [0]):.2f} s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
