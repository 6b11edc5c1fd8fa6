"""`mlmodel` and `opencv`: a model served by the program `cnet-inference`."""

from __future__ import annotations

import sys
from math import ceil
from pathlib import PurePosixPath
from typing import Any, Literal

import anyio
from pydantic import Field, field_validator

from cnet.errors import SpecError
from cnet.executors.base import Task
from cnet.executors.commands import Command
from cnet.executors.data_refs import Input, check_path, is_ref, parse_ref
from cnet.executors.data_users import DataUser
from cnet.executors.services import ServiceConfig, ServiceExecutor

MODEL_TYPES = ("yolo", "onnx", "sklearn", "custom")
"""Model types that `cnet-inference` has a runtime for; each is the runtime of that name."""

_FRAMEWORKS = {"scikit-learn": "sklearn", "onnxruntime": "onnx"}
FIELDS_OF_TYPES = {
    "labels": ("yolo", "onnx"),
    "confidence": ("yolo",),
    "iou_threshold": ("yolo",),
    "trusted_types": ("sklearn",),
    "allow_joblib": ("sklearn",),
    "class_name": ("custom",),
}
"""Fields of a config that only some model types have a use for."""


class MlModelConfig(ServiceConfig):
    """`config` of an mlmodel."""

    model_type: str | None = Field(None, max_length=64, description=", ".join(MODEL_TYPES))
    model_path: str = Field(
        min_length=1, max_length=4096, description="a file on the node, or data://<data_key>[/path]"
    )
    framework: str | None = Field(None, max_length=64)
    labels: list[str] | None = Field(
        None, max_length=10_000, description="names of the classes; default: those in the model"
    )
    confidence: float = Field(0.5, gt=0, le=1, description="default threshold of /predict")
    iou_threshold: float = Field(0.4, gt=0, le=1, description="default threshold of /predict")
    trusted_types: list[str] = Field(
        default_factory=list,
        max_length=100,
        description="of a skops file, beyond what skops trusts",
    )
    allow_joblib: bool = Field(False, description="load a file that runs code of whoever made it")

    class_name: str | None = Field(
        None, max_length=256, description="in the file of a custom model"
    )

    @field_validator("labels")
    @classmethod
    def _sound_labels(cls, labels: list[str] | None) -> list[str] | None:
        if labels and any("," in label or not label or "\0" in label for label in labels):
            raise ValueError("names must not be empty nor contain a comma or NUL")
        return labels

    @field_validator("trusted_types")
    @classmethod
    def _sound_types(cls, names: list[str]) -> list[str]:
        if not all(part.isidentifier() for name in names for part in name.split(".")):
            raise ValueError("each must be the dotted name of a Python type, module included")
        return names

    @field_validator("class_name")
    @classmethod
    def _sound_class(cls, name: str | None) -> str | None:
        if name is not None and not name.isidentifier():
            raise ValueError("must be the name of a Python class")
        return name

    @field_validator("model_path")
    @classmethod
    def _sound_path(cls, path: str) -> str:
        return check_path(path)

    @property
    def wanted_type(self) -> str | None:
        """The model type, or the one that the framework stands for."""
        return self.model_type or _FRAMEWORKS.get(self.framework or "", self.framework)


class OpenCvConfig(ServiceConfig):
    """`config` of an opencv service."""

    cascade_type: Literal["face", "eye", "smile"] = "face"
    cascade_path: str = Field(
        "",
        max_length=4096,
        description="a file, or data://<data_key>[/path]; default: the one OpenCV ships",
    )

    @field_validator("cascade_path")
    @classmethod
    def _sound_path(cls, path: str) -> str:
        return check_path(path)


class _ModelServer(DataUser, ServiceExecutor):
    """Serves one file, which `cnet-inference` only reads."""

    may_link = True
    path_field: str

    def inputs_of(self, config: Any) -> list[Input]:
        """The file, if it is stored data."""
        path: str = getattr(config, self.path_field)
        if not is_ref(path):
            return []
        return [
            Input(
                ref=parse_ref(path),
                target=PurePosixPath("model"),
                field=f"config.{self.path_field}",
                inside=True,
                single=True,
            )
        ]

    async def _require_file(self, path: str) -> None:
        if not is_ref(path):
            await _require_file(f"config.{self.path_field}", path)

    def _local(self, task: Task) -> str:
        path: str = getattr(task.config, self.path_field)
        if not is_ref(path):
            return path
        return str(self.placed(task, f"config.{self.path_field}", parse_ref(path)))


class MlModelExecutor(_ModelServer):
    """Starts `cnet-inference` with the runtime of the model type."""

    kind = "mlmodel"
    config_model = MlModelConfig
    path_field = "model_path"

    async def prepare(self, config: MlModelConfig) -> None:
        """There must be a runtime for the type, and the model file must be there."""
        if (wanted := config.wanted_type) not in MODEL_TYPES:
            asked = "is missing" if wanted is None else f"{wanted!r} cannot be served"
            raise SpecError(
                f"config.model_type: {asked}; allowed: {', '.join(MODEL_TYPES)}",
                field="config.model_type",
            )
        _refuse_useless(config, wanted)
        await super().prepare(config)
        await self._require_file(config.model_path)

    def command(self, task: Task) -> Command:
        """The runtime of that name over the model file."""
        config: MlModelConfig = task.config
        runtime = config.wanted_type or ""
        arguments = [
            runtime,
            f"--model={self._local(task)}",
            f"--model-name={task.spec.name}",
        ]
        if runtime == "yolo":
            arguments += [f"--confidence={config.confidence}", f"--iou={config.iou_threshold}"]
        arguments += [f"--trust={name}" for name in config.trusted_types]
        if config.class_name:
            arguments.append(f"--class={config.class_name}")
        if config.allow_joblib:
            arguments.append("--allow-joblib")
        if config.labels:
            arguments.append(f"--labels={','.join(config.labels)}")
        return _inference(task, arguments)


class OpenCvExecutor(_ModelServer):
    """Starts `cnet-inference opencv`."""

    kind = "opencv"
    config_model = OpenCvConfig
    path_field = "cascade_path"

    async def prepare(self, config: OpenCvConfig) -> None:
        """A cascade of one's own must be there."""
        await super().prepare(config)
        if config.cascade_path:
            await self._require_file(config.cascade_path)

    def command(self, task: Task) -> Command:
        """The Haar cascade runtime."""
        config: OpenCvConfig = task.config
        arguments = ["opencv", f"--cascade-type={config.cascade_type}"]
        if config.cascade_path:
            arguments.append(f"--cascade-path={self._local(task)}")
        return _inference(task, arguments)


def _refuse_useless(config: MlModelConfig, model_type: str) -> None:
    """A field that the runtime would not heed must not look as if it did."""
    for name, types in FIELDS_OF_TYPES.items():
        given = name in config.model_fields_set and getattr(config, name) is not None
        if given and model_type not in types:
            raise SpecError(
                f"config.{name}: only for model_type {' or '.join(types)}, not {model_type}",
                field=f"config.{name}",
            )


async def _require_file(field: str, path: str) -> None:
    try:
        found = await anyio.Path(path).is_file()
    except (OSError, ValueError):  # too long a name, or a NUL in it
        found = False
    if not found:
        raise SpecError(f"{field}: {path!r} is not a file on this node", field=field)


def _inference(task: Task, arguments: list[str]) -> Command:
    """The program of this installation; threads follow the CPU quota, 0 means all there are."""
    config: ServiceConfig = task.config
    return Command(
        argv=(
            sys.executable,
            "-m",
            "cnet.inference",
            *arguments,
            f"--host={config.service_host}",
            f"--port={task.port}",
            f"--threads={ceil(task.spec.requirements.cpu)}",
        ),
        env={"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": _openmp_threads(task)},
    )


def _openmp_threads(task: Task) -> str:
    return str(max(1, ceil(task.spec.requirements.cpu)))
