"""How the runtime `sklearn` is asked for on the command line; imports nothing heavy."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from cnet.inference.runtime import ModelRuntime, ServiceSettings


class SklearnKind:
    """Estimators that skops or joblib have written."""

    summary = "scikit-learn estimators and pipelines in skops files, or joblib files where allowed"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Model file, and what may be loaded from it."""
        parser.add_argument(
            "--model", type=Path, required=True, metavar="PATH", help="skops, joblib or pickle file"
        )
        parser.add_argument(
            "--trust",
            action="append",
            default=[],
            metavar="TYPE",
            help="a type in a skops file that skops does not trust by itself; may be repeated",
        )
        parser.add_argument(
            "--allow-joblib",
            action="store_true",
            help="load joblib and pickle files, which run code of whoever made them",
        )

        parser.add_argument(
            "--no-convert",
            action="store_true",
            help="serve by scikit-learn itself, not by the same model converted to ONNX",
        )

    def load(self, arguments: Namespace, settings: ServiceSettings) -> ModelRuntime:
        """Load the estimator; ConfigError with one sentence where that cannot be done."""
        # It brings NumPy and ONNX Runtime, which only services that need them spend time on.
        from cnet.inference.sklearn.runtime import SklearnRuntime

        return SklearnRuntime.load(
            arguments.model,
            threads=settings.threads,
            trusted=arguments.trust,
            allow_joblib=arguments.allow_joblib,
            convert=not arguments.no_convert,
            max_batch=settings.max_batch,
            cache_dir=settings.cache_dir,
        )
