"""Every executor that CNET ships, and a plug-in, keep the promises of the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cnet.executors.base import Executor
from cnet.executors.catalog import ExecutorContext
from cnet.executors.inference import MlModelExecutor, OpenCvExecutor
from cnet.executors.process import ProcessExecutor
from cnet.executors.reservation import ReservationExecutor
from cnet.executors.training import TrainingExecutor
from cnet.testing import ExecutorContract
from tests.contracts.sample_plugin import make

MODEL = Path(__file__).parents[2] / "examples" / "ml_models" / "shapes_yolo.onnx"


class TestProcess(ExecutorContract):
    """`process`."""

    def make_executor(self, context: ExecutorContext) -> Executor:
        return ProcessExecutor(context.supervisor, context.logs)

    def long_config(self, folder: Path) -> dict[str, Any]:
        return {"command": "sleep", "args": ["60"], "working_dir": str(folder)}

    def quick_config(self, folder: Path, exit_code: int) -> dict[str, Any]:
        return {"command": "sh", "args": ["-c", f"exit {exit_code}"]}

    def unstartable_config(self, folder: Path) -> dict[str, Any]:
        return {"command": "no-such-program"}


class TestTraining(ExecutorContract):
    """`ml`."""

    def make_executor(self, context: ExecutorContext) -> Executor:
        return TrainingExecutor(context.supervisor, context.logs)

    def long_config(self, folder: Path) -> dict[str, Any]:
        return {"model_path": "m", "command": "sleep", "args": ["60"], "working_dir": str(folder)}

    def quick_config(self, folder: Path, exit_code: int) -> dict[str, Any]:
        return {"model_path": "m", "command": "sh", "args": ["-c", f"exit {exit_code}"]}

    def unstartable_config(self, folder: Path) -> dict[str, Any]:
        return {"model_path": "m", "command": "no-such-program"}


class TestMlModel(ExecutorContract):
    """`mlmodel` with a YOLO model."""

    def make_executor(self, context: ExecutorContext) -> Executor:
        return MlModelExecutor(context.supervisor, context.logs)

    def long_config(self, folder: Path) -> dict[str, Any]:
        return {"model_type": "yolo", "model_path": str(MODEL)}


class TestOpenCv(ExecutorContract):
    """`opencv`."""

    def make_executor(self, context: ExecutorContext) -> Executor:
        return OpenCvExecutor(context.supervisor, context.logs)

    def long_config(self, folder: Path) -> dict[str, Any]:
        return {"cascade_type": "face", "service_host": "127.0.0.1"}


class TestReservation(ExecutorContract):
    """`reservation`."""

    def make_executor(self, context: ExecutorContext) -> Executor:
        return ReservationExecutor(context.supervisor, context.logs)

    def long_config(self, folder: Path) -> dict[str, Any]:
        return {"seconds": 60}


class TestPlugin(ExecutorContract):
    """A plug-in of somebody else."""

    def make_executor(self, context: ExecutorContext) -> Executor:
        return make(context)

    def long_config(self, folder: Path) -> dict[str, Any]:
        return {"script": "sleep 60"}

    def quick_config(self, folder: Path, exit_code: int) -> dict[str, Any]:
        return {"script": f"exit {exit_code}"}
