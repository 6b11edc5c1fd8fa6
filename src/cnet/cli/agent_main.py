"""`cnet-agent -config config.yaml`: the seeds' agent command, with Go's single-dash options.

Everything else is `cnet agent`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import typer.main

from cnet.cli import agent
from cnet.cli.main import run

_DEFAULT_CONFIG = Path("config.yaml")
_SINGLE_DASH = re.compile(r"-[a-z][a-z-]+(=.*)?", re.DOTALL)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent; its exit code. Without -config, ./config.yaml is read if it is there."""
    arguments = doubled_dashes(sys.argv[1:] if argv is None else argv)
    names = {argument.partition("=")[0] for argument in arguments}
    if "--config" not in names and _DEFAULT_CONFIG.is_file():
        arguments += ["--config", str(_DEFAULT_CONFIG)]
    return run(typer.main.get_command(agent.app), arguments, name="cnet-agent")


def doubled_dashes(arguments: Sequence[str]) -> list[str]:
    """`-config x` and `-config=x` as `--config x` and `--config=x`; all else unchanged."""
    return [f"-{word}" if _SINGLE_DASH.fullmatch(word) else word for word in arguments]
