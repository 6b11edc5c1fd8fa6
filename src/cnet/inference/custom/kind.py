"""How the runtime `custom` is asked for on the command line; imports nothing heavy."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from cnet.inference.runtime import ModelRuntime, ServiceSettings


class CustomKind:
    """Python files with a class `Model`, or with functions."""

    summary = "a Python file with load, predict and unload, as a class Model or as functions"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The file, and what in it is the model."""
        parser.add_argument("--model", type=Path, required=True, metavar="PATH", help="Python file")
        parser.add_argument(
            "--class",
            dest="class_name",
            metavar="NAME",
            help="class in the file (default: Model where there is one, else its functions)",
        )

    def load(self, arguments: Namespace, settings: ServiceSettings) -> ModelRuntime:
        """Run the file and its `load`; ConfigError with one sentence where that fails."""
        # What it needs depends on the file: NumPy only where it declares tensors.
        from cnet.inference.custom.runtime import load

        return load(
            arguments.model,
            class_name=arguments.class_name,
            threads=settings.threads,
            max_batch=settings.max_batch,
        )
