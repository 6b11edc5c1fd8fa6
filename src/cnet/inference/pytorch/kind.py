"""How the runtime `pytorch` is asked for on the command line; imports nothing heavy."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from cnet.inference.runtime import ModelRuntime, ServiceSettings


class PytorchKind:
    """TorchScript, archives of torch.export, and weights of a class in a Python file."""

    summary = "PyTorch: TorchScript, torch.export archives, or a Python class and its weights"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The files, and what a file does not tell of its tensors."""
        parser.add_argument(
            "--model",
            type=Path,
            required=True,
            metavar="PATH",
            help="TorchScript, a .pt2 archive, or the weights (state_dict) of a class",
        )
        parser.add_argument(
            "--script", type=Path, metavar="PATH", help="Python file with the class of the weights"
        )
        parser.add_argument(
            "--class",
            dest="class_name",
            default="Model",
            metavar="NAME",
            help="class in the file (default: %(default)s)",
        )
        for role in ("inputs", "outputs"):
            parser.add_argument(
                f"--{role}",
                metavar="JSON",
                help='where the model does not tell: {"name": ["FP32", [-1, 4]]}',
            )
        parser.add_argument("--labels", metavar="A,B,C", help="told in /info")

    def load(self, arguments: Namespace, settings: ServiceSettings) -> ModelRuntime:
        """Load the model; ConfigError with one sentence where that cannot be done."""
        # PyTorch takes seconds to import, which only services of this kind spend.
        from cnet.inference.frameworks.runtime import FrameworkRuntime
        from cnet.inference.pytorch.models import load

        model = load(
            arguments.model,
            script=arguments.script,
            class_name=arguments.class_name,
            inputs=arguments.inputs,
            outputs=arguments.outputs,
            device=settings.device,
        )
        return FrameworkRuntime(
            model,
            arguments.model,
            threads=settings.threads,
            max_batch=settings.max_batch,
            labels=arguments.labels,
        )
