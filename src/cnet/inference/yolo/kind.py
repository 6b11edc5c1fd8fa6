"""How the runtime `yolo` is asked for on the command line; imports nothing heavy."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from cnet.inference.arguments import fraction
from cnet.inference.runtime import ModelRuntime, ServiceSettings

LAYOUTS = ("objectness", "columns", "rows", "end_to_end", "end_to_end_v7")


class YoloKind:
    """Detectors in ONNX files."""

    summary = "YOLO detectors (v5, v7, v8, v9, v10, v11) in ONNX files"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Model file, names of its classes, and defaults of requests."""
        parser.add_argument("--model", type=Path, required=True, metavar="PATH", help="ONNX file")
        parser.add_argument(
            "--labels", metavar="A,B,C", help="names of the classes (default: those in the model)"
        )
        parser.add_argument("--layout", choices=LAYOUTS, help="of the output (default: recognised)")
        parser.add_argument(
            "--confidence", type=fraction, default=0.5, help="where a request names none"
        )
        parser.add_argument(
            "--iou", type=fraction, default=0.4, help="of the NMS, where a request names none"
        )

    def load(self, arguments: Namespace, settings: ServiceSettings) -> ModelRuntime:
        """Load the model; ConfigError with one sentence where that cannot be done."""
        # ONNX Runtime and OpenCV are imported by services of this kind only.
        from cnet.inference.yolo.runtime import YoloRuntime

        return YoloRuntime.load(
            arguments.model,
            threads=settings.threads,
            labels=arguments.labels,
            layout=arguments.layout,
            confidence=arguments.confidence,
            iou_threshold=arguments.iou,
            max_pixels=settings.max_pixels,
            device=settings.device,
        )
