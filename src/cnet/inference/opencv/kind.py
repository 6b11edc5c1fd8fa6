"""How the runtime `opencv` is asked for on the command line; imports nothing heavy."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from cnet.inference.runtime import ModelRuntime, ServiceSettings

CASCADE_TYPES = ("face", "eye", "smile")


class OpencvKind:
    """Haar cascades."""

    summary = "faces, eyes and smiles by OpenCV's Haar cascades"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to look for, and where else a cascade file may be."""
        parser.add_argument("--cascade-type", choices=CASCADE_TYPES, required=True)
        parser.add_argument(
            "--cascade-path", type=Path, metavar="PATH", help="default: the one OpenCV brings"
        )

    def load(self, arguments: Namespace, settings: ServiceSettings) -> ModelRuntime:
        """Load the cascades; ConfigError with one sentence where that cannot be done."""
        # OpenCV is imported by services of this kind only.
        from cnet.inference.opencv.runtime import OpencvRuntime

        return OpencvRuntime.load(
            arguments.cascade_type,
            path=arguments.cascade_path,
            threads=settings.threads,
            max_pixels=settings.max_pixels,
        )
