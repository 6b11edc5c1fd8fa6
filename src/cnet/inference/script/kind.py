"""How the runtime `script` is asked for on the command line; imports nothing heavy."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from cnet.inference.arguments import whole
from cnet.inference.runtime import ModelRuntime, ServiceSettings


class ScriptKind:
    """Programs that answer `predict <model> <input>` with one JSON object."""

    summary = "a script of one's own: COMMAND [SCRIPT] predict MODEL INPUT prints a JSON object"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The model file, and what knows what to do with it."""
        parser.add_argument("--model", type=Path, required=True, metavar="PATH", help="model file")
        parser.add_argument("--command", default="python3", metavar="PROGRAM")
        parser.add_argument("--script", type=Path, metavar="PATH", help="what the program runs")
        parser.add_argument("--working-dir", type=Path, default=Path(), metavar="PATH")
        parser.add_argument(
            "--timeout", type=whole(1, 3_600), default=60, metavar="S", help="for one prediction"
        )

    def load(self, arguments: Namespace, settings: ServiceSettings) -> ModelRuntime:
        """Look whether all of it is there; ConfigError with one sentence where it is not."""
        from cnet.inference.script.runtime import Program, load

        program = Program(
            command=arguments.command,
            script=arguments.script,
            model=arguments.model,
            folder=arguments.working_dir,
            timeout_s=arguments.timeout,
        )
        return load(program, threads=settings.threads)
