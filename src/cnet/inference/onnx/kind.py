"""How the runtime `onnx` is asked for on the command line; imports nothing heavy."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from cnet.inference.runtime import ModelRuntime, ServiceSettings


class OnnxKind:
    """ONNX files of any purpose."""

    summary = "any model in an ONNX file, by its named inputs and outputs"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Model file and names of its classes."""
        parser.add_argument("--model", type=Path, required=True, metavar="PATH", help="ONNX file")
        parser.add_argument(
            "--labels", metavar="A,B,C", help="told in /info (default: those in the model)"
        )

    def load(self, arguments: Namespace, settings: ServiceSettings) -> ModelRuntime:
        """Load the model; ConfigError with one sentence where that cannot be done."""
        # ONNX Runtime and NumPy are imported by services that need them only.
        from cnet.inference.onnx.runtime import OnnxRuntime

        return OnnxRuntime.load(
            arguments.model,
            threads=settings.threads,
            labels=arguments.labels,
            max_batch=settings.max_batch,
            device=settings.device,
        )
