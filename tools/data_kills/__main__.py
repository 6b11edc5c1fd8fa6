"""`python -m tools.data_kills`: kill agents amid changes of data; exit code 1 with what broke."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from tools.chaos import planted
from tools.chaos.model import InvariantError
from tools.data_kills.site import Site

LOG_LINES = 30


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, report."""
    options = _parser().parse_args(arguments)
    root = options.root or Path(tempfile.mkdtemp(prefix="cnet-data-kills-"))
    folder = root / f"seed-{options.seed}-{time.time_ns()}"
    began = time.monotonic()
    sites = [
        Site(
            number,
            options.seed,
            options.kills // options.agents + (number < options.kills % options.agents),
            folder / f"agent-{number}",
            options.plant,
        )
        for number in range(options.agents)
    ]
    try:
        violations = _run_all(sites)
    finally:
        if options.root is None:
            shutil.rmtree(root, ignore_errors=True)
    _summarise(options, sites, time.monotonic() - began)
    for site, violation in violations:
        _report(options, site, violation)
    return 1 if violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.data_kills", description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="decides every random choice")
    parser.add_argument("--kills", type=int, default=40, help="SIGKILLs in all (default 40)")
    parser.add_argument("--agents", type=int, default=2, help="that work at once (default 2)")
    parser.add_argument("--root", type=Path, help="keep data and logs below this folder")
    parser.add_argument(
        "--plant", choices=sorted(planted.DATA_BUGS), help="run agents with this bug put into them"
    )
    return parser


def _run_all(sites: list[Site]) -> list[tuple[Site, InvariantError]]:
    violations: list[tuple[Site, InvariantError]] = []

    def run(site: Site) -> None:
        try:
            site.run()
        except InvariantError as violation:
            violations.append((site, violation))
            for other in sites:
                other.enough.set()

    threads = [threading.Thread(target=run, args=(site,)) for site in sites]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return violations


def _summarise(options: argparse.Namespace, sites: list[Site], took_s: float) -> None:
    books = [site.book for site in sites]
    print(
        f"data_kills: seed {options.seed}, {sum(site.kills for site in sites)} kills "
        f"({sum(book.lost_answers for book in books)} operations cut off), "
        f"{sum(site.start_kills for site in sites)} kills of a start, "
        f"{sum(book.operations for book in books)} operations, "
        f"{sum(book.reads for book in books)} reads, "
        f"{sum(site.checker.checks for site in sites)} checks, {took_s:.1f} s",
        flush=True,
    )


def _report(options: argparse.Namespace, site: Site, violation: InvariantError) -> None:
    print(f"VIOLATION {violation}")
    plant = f" --plant {options.plant}" if options.plant else ""
    print(
        f"  replay: python -m tools.data_kills --seed {options.seed} --kills {options.kills} "
        f"--agents {options.agents}{plant} --root DIRECTORY"
    )
    print("  the agent's last lines:")
    for line in site.log_lines[-LOG_LINES:]:
        print(f"    {line}")


if __name__ == "__main__":
    sys.exit(main())
