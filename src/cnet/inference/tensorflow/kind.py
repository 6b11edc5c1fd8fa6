"""How the runtime `tensorflow` is asked for on the command line; imports nothing heavy."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from cnet.errors import ConfigError
from cnet.inference.runtime import ModelRuntime, ServiceSettings

_LITERT_MAGIC = b"TFL3"


class TensorflowKind:
    """SavedModels, Keras files and LiteRT files."""

    summary = "TensorFlow: a SavedModel folder, a .keras file, or a .tflite file (LiteRT)"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The model."""
        parser.add_argument(
            "--model", type=Path, required=True, metavar="PATH", help="folder or file"
        )
        parser.add_argument(
            "--signature",
            default="serving_default",
            metavar="NAME",
            help="of a SavedModel or LiteRT file (default: %(default)s)",
        )
        parser.add_argument("--labels", metavar="A,B,C", help="told in /info")

    def load(self, arguments: Namespace, settings: ServiceSettings) -> ModelRuntime:
        """Load the model; ConfigError with one sentence where that cannot be done."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        # TensorFlow takes seconds to import, which only services that need it spend.
        from cnet.inference.frameworks.runtime import CalledModel, FrameworkRuntime

        path: Path = arguments.model
        model: CalledModel
        if _is_litert(path):
            if settings.device.startswith("cuda"):
                raise ConfigError(f"{path} is a LiteRT file, which runs on CPUs only")
            from cnet.inference.tensorflow import litert

            model = litert.load(path, signature=arguments.signature)
        else:
            from cnet.inference.tensorflow import models

            model = models.load(
                path,
                signature=arguments.signature,
                threads=settings.threads,
                device=settings.device,
            )
        return FrameworkRuntime(
            model,
            path,
            threads=settings.threads,
            max_batch=settings.max_batch,
            labels=arguments.labels,
        )


def _is_litert(path: Path) -> bool:
    if path.is_dir():
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(8)[4:] == _LITERT_MAGIC
    except OSError as error:
        raise ConfigError(f"model {path} cannot be read: {error.strerror}") from error
