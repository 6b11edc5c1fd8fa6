"""`mlmodel` and `opencv`: a model served by the program `cnet-inference`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from math import ceil
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import anyio
from pydantic import Field, field_validator

from cnet.errors import ExecutionError, SpecError
from cnet.executors.base import Task
from cnet.executors.commands import Command
from cnet.executors.data_refs import Input, check_path, is_ref, parse_ref
from cnet.executors.data_users import DataUser
from cnet.executors.environment import WithEnvironment, require_text
from cnet.executors.services import ServiceConfig, ServiceExecutor

MODEL_TYPES = ("yolo", "onnx", "sklearn", "pytorch", "tensorflow", "custom", "script")
"""Model types that `cnet-inference` has a runtime for; each is the runtime of that name."""

SCRIPT_VARIABLES = "CNET_SCRIPT_ENV"
"""Variables of a script, as a JSON object, for the program that serves it."""

_ON_CPU = frozenset({"sklearn", "opencv"})
"""Runtimes that have no use for a GPU."""
_CHOOSES_DEVICE = frozenset({"custom", "script"})
"""Code of the user's own, which finds its devices in CUDA_VISIBLE_DEVICES."""

_FRAMEWORKS = {
    "scikit-learn": "sklearn",
    "onnxruntime": "onnx",
    "torch": "pytorch",
    "keras": "tensorflow",
    "litert": "tensorflow",
    "tflite": "tensorflow",
}
FIELDS_OF_TYPES = {
    "labels": ("yolo", "onnx", "pytorch", "tensorflow"),
    "confidence": ("yolo",),
    "iou_threshold": ("yolo",),
    "trusted_types": ("sklearn",),
    "allow_joblib": ("sklearn",),
    "convert": ("sklearn",),
    "class_name": ("custom", "pytorch"),
    "script_path": ("script", "pytorch"),
    "inputs": ("pytorch",),
    "outputs": ("pytorch",),
    "command": ("script",),
    "working_dir": ("script",),
    "env": ("script",),
    "secret_env": ("script",),
}
"""Fields of a config that only some model types have a use for."""

Datatype = Literal[
    "BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"
]  # fmt: skip
Size = Annotated[int, Field(ge=-1, lt=1 << 31)]
Tensor = tuple[Datatype, Annotated[list[Size], Field(max_length=32)]]
"""Datatype of the Open Inference Protocol, and shape: `["FP32", [-1, 4]]`."""


class ModelServiceConfig(ServiceConfig):
    """What the program takes whatever it serves."""

    max_waiting: int | None = Field(
        None, ge=1, le=65_536, description="requests in line before others are refused (429)"
    )
    request_timeout_ms: int | None = Field(
        None, ge=0, le=3_600_000, description="of requests that do not say so themselves (504)"
    )


class MlModelConfig(WithEnvironment, ModelServiceConfig):
    """`config` of an mlmodel."""

    model_config = ServiceConfig.model_config

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
    convert: bool = Field(True, description="serve by ONNX Runtime where it is surely the same")
    class_name: str | None = Field(
        None, max_length=256, description="in the file of a custom model"
    )
    max_batch: int | None = Field(
        None, ge=1, le=65_536, description="rows of several requests in one call of the model"
    )
    inputs: dict[str, Tensor] | None = Field(
        None, max_length=1000, description="of a pytorch model that does not tell them"
    )
    outputs: dict[str, Tensor] | None = Field(
        None, max_length=1000, description="of a pytorch model that does not tell them"
    )
    script_path: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="answers `predict <model_path> <input>`; of pytorch: has the weights' class",
    )
    command: str | None = Field(
        None, min_length=1, max_length=4096, description="what runs the script; default: python3"
    )
    working_dir: str | None = Field(None, min_length=1, max_length=4096, description="of a script")

    @field_validator("labels")
    @classmethod
    def _sound_labels(cls, labels: list[str] | None) -> list[str] | None:
        if labels and any("," in label or not label or "\0" in label for label in labels):
            raise ValueError("names must not be empty nor contain a comma or NUL")
        return labels

    @field_validator("trusted_types")
    @classmethod
    def _sound_types(cls, names: list[str]) -> list[str]:
        return sound_types(names)

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

    @field_validator("script_path", "command", "working_dir")
    @classmethod
    def _sound_text(cls, text: str | None) -> str | None:
        if text is not None:
            require_text(text)
        return text

    @property
    def wanted_type(self) -> str | None:
        """The model type, or the one that the framework stands for."""
        return self.model_type or _FRAMEWORKS.get(self.framework or "", self.framework)


def sound_types(names: list[str]) -> list[str]:
    """The same names; ValueError where one cannot be that of a type."""
    if not all(part.isidentifier() for name in names for part in name.split(".")):
        raise ValueError("each must be the dotted name of a Python type, module included")
    return names


class OpenCvConfig(ModelServiceConfig):
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


def _device(runtime: str) -> str:
    """The first of the devices that were given to the run: it sees no other ones."""
    if runtime in _ON_CPU:
        raise ExecutionError(f"{runtime} runs on CPUs only; ask for no GPU")
    return "--device=cuda:0"


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
                single=not self.may_be_folder(config),
            )
        ]

    def may_be_folder(self, config: Any) -> bool:
        """Whether what is served may be a folder."""
        return False

    async def _require_file(self, config: Any, path: str) -> None:
        if not is_ref(path):
            or_folder = self.may_be_folder(config)
            await _require_file(f"config.{self.path_field}", path, or_folder=or_folder)

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
        if wanted == "script":
            await _require_script(config)
        elif config.script_path is not None:
            await _require_file("config.script_path", config.script_path)
        await super().prepare(config)
        await self._require_file(config, config.model_path)

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
        if runtime == "sklearn":
            arguments.append(f"--cache-dir={self._cache(task)}")
        if not config.convert:
            arguments.append("--no-convert")
        if config.labels:
            arguments.append(f"--labels={','.join(config.labels)}")
        if runtime == "pytorch":
            arguments += _tensors(config)
        if config.max_batch is not None:
            arguments.append(f"--max-batch={config.max_batch}")
        if task.gpu_devices and runtime not in _CHOOSES_DEVICE:
            arguments.append(_device(runtime))
        if runtime == "script":
            return _script_server(task, arguments)
        return _inference(task, arguments)

    def may_be_folder(self, config: MlModelConfig) -> bool:
        """A SavedModel is one."""
        return config.wanted_type == "tensorflow"

    def _cache(self, task: Task) -> Path:
        """A folder of this node that all models share, beside that of the runs."""
        return self.log_path(task.workload_id).parent.parent.with_name("model-cache")


class OpenCvExecutor(_ModelServer):
    """Starts `cnet-inference opencv`."""

    kind = "opencv"
    config_model = OpenCvConfig
    path_field = "cascade_path"

    async def prepare(self, config: OpenCvConfig) -> None:
        """A cascade of one's own must be there."""
        await super().prepare(config)
        if config.cascade_path:
            await self._require_file(config, config.cascade_path)

    def command(self, task: Task) -> Command:
        """The Haar cascade runtime."""
        config: OpenCvConfig = task.config
        arguments = ["opencv", f"--cascade-type={config.cascade_type}"]
        if task.gpu_devices:
            arguments.append(_device("opencv"))
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


async def _require_script(config: MlModelConfig) -> None:
    if config.script_path is None and config.command is None:
        raise SpecError(
            "config.script_path: a model of type script needs one, or a command",
            field="config.script_path",
        )
    if config.script_path is not None:
        await _require_file("config.script_path", config.script_path)
    folder = config.working_dir
    if folder is not None and not await anyio.Path(folder).is_dir():
        raise SpecError(
            f"config.working_dir: {folder!r} is not a directory on this node",
            field="config.working_dir",
        )


def _tensors(config: MlModelConfig) -> list[str]:
    """What a file of PyTorch does not tell."""
    arguments = [] if config.script_path is None else [f"--script={config.script_path}"]
    for role, told in (("inputs", config.inputs), ("outputs", config.outputs)):
        if told is not None:
            arguments.append(f"--{role}={json.dumps(told)}")
    return arguments


def _script_server(task: Task, arguments: list[str]) -> Command:
    """Variables of the user are for the script: they must not change how the server itself runs."""
    config: MlModelConfig = task.config
    arguments = [*arguments, f"--command={config.command or 'python3'}"]
    if config.script_path is not None:
        arguments.append(f"--script={config.script_path}")
    if config.working_dir is not None:
        arguments.append(f"--working-dir={config.working_dir}")
    made = _inference(task, arguments)
    variables = json.dumps({**config.env, **config.secret_env})
    return replace(made, env={**made.env, SCRIPT_VARIABLES: variables})


async def _require_file(field: str, path: str, *, or_folder: bool = False) -> None:
    there = anyio.Path(path)
    try:
        found = await there.is_file() or (or_folder and await there.is_dir())
    except (OSError, ValueError):  # too long a name, or a NUL in it
        found = False
    if not found:
        kind = "a file or folder" if or_folder else "a file"
        raise SpecError(f"{field}: {path!r} is not {kind} on this node", field=field)


def _inference(task: Task, arguments: list[str]) -> Command:
    """The program of this installation; threads follow the CPU quota, 0 means all there are."""
    config: ModelServiceConfig = task.config
    limits = {
        "--max-waiting": config.max_waiting,
        "--request-timeout-ms": config.request_timeout_ms,
    }
    return Command(
        argv=(
            sys.executable,
            "-m",
            "cnet.inference",
            *arguments,
            f"--host={config.service_host}",
            f"--port={task.port}",
            f"--threads={ceil(task.spec.requirements.cpu)}",
            *(f"{name}={value}" for name, value in limits.items() if value is not None),
        ),
        # The program sets the variables of numerical libraries by --threads.
        env={"PYTHONUNBUFFERED": "1"},
    )
