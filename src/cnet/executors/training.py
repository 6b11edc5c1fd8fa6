"""`ml`: a command that makes a model file, as the first document's `/api/ml/models` runs it.

The run is a process like any other. What the agent serves afterwards is told by `serving_config`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

import anyio
from pydantic import Field, field_validator, model_validator

from cnet.errors import ConflictError, SpecError
from cnet.executors.base import Task
from cnet.executors.commands import Command
from cnet.executors.environment import require_text
from cnet.executors.inference import MODEL_TYPES, sound_types
from cnet.executors.process import ProcessConfig, ProcessExecutor

KIND = "ml"
TRAINED_TYPES = ("linear_regression", "neural_network", "custom")
"""Words for what a script of one's own makes: they say nothing about the file."""
ALLOWED_TYPES = tuple(dict.fromkeys((*TRAINED_TYPES, *MODEL_TYPES)))

_PYTHON = "python3"
_SCRIPT_WORD = "script.py"
_BY_SUFFIX = {".onnx": "onnx", ".skops": "sklearn", ".py": "custom"}
_PICKLES = frozenset({".joblib", ".pkl", ".pickle"})


class TrainingConfig(ProcessConfig):
    """`config` of a model that is trained, or is there already, and served when it is asked."""

    command: str = Field(
        "", max_length=4096, description=f"default: {_PYTHON}, where there is a script"
    )
    model_type: str = Field("custom", max_length=64, description=", ".join(ALLOWED_TYPES))
    model_path: str = Field(
        min_length=1, max_length=4096, description="the file that is served, once it is there"
    )
    script_path: str | None = Field(
        None, min_length=1, max_length=4096, description="takes train, predict and evaluate"
    )
    serve: Literal["auto", "file", "script"] = Field(
        "auto", description="how predictions are made: from the file, or by asking the script"
    )
    allow_joblib: bool = Field(False, description="load a file that runs code of whoever made it")
    trusted_types: list[str] = Field(
        default_factory=list, max_length=100, description="of a skops file, beyond what it trusts"
    )
    idle_s: float | None = Field(
        None,
        gt=0,
        le=31_536_000,
        allow_inf_nan=False,
        description="seconds without a prediction until it is unloaded; default: `models.idle_s`",
    )

    @field_validator("model_type")
    @classmethod
    def _known_type(cls, name: str) -> str:
        if name not in ALLOWED_TYPES:
            raise ValueError(f"{name!r} is not one of {', '.join(ALLOWED_TYPES)}")
        return name

    @field_validator("model_path", "script_path")
    @classmethod
    def _sound_path(cls, path: str | None) -> str | None:
        if path is not None:
            require_text(path)
        return path

    @field_validator("trusted_types")
    @classmethod
    def _sound_types(cls, names: list[str]) -> list[str]:
        return sound_types(names)

    @model_validator(mode="after")
    def _has_script(self) -> Self:
        if self.serve == "script" and not self.argv_of_script:
            raise ValueError("serve: script needs a script_path or a command")
        return self

    @property
    def argv_of_script(self) -> tuple[str, ...]:
        """What `train`, `predict` and `evaluate` are said to; empty: there is no such thing."""
        if self.script is not None:
            return (self.command or _PYTHON, self.script)
        return (self.command,) if self.command else ()

    @property
    def script(self) -> str | None:
        """The script: `script_path`, or the Python file that the arguments begin with."""
        if self.script_path is not None:
            return self.script_path
        first = self.args[0] if self.args else ""
        return first if first.endswith(".py") else None

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line of the training; without anything to run, a look at the file."""
        if not self.argv_of_script:
            return ("ls", "-l", "--", self.model_path)
        if self.args:
            args = (self._meant(number, arg) for number, arg in enumerate(self.args))
            return (self.argv_of_script[0], *args)
        return (*self.argv_of_script, "train", self.model_path)

    def _meant(self, number: int, arg: str) -> str:
        """The bare names of the documents' example stand for the paths given beside them."""
        model = PurePosixPath(self.model_path)
        if number == 0 and self.script_path is not None:
            if arg in {_SCRIPT_WORD, PurePosixPath(self.script_path).name}:
                return arg if (self.folder / arg).is_file() else self.script_path
        elif arg in {f"model{model.suffix}", model.name}:
            return self.model_path
        return arg

    @property
    def folder(self) -> Path:
        """Where relative paths begin, on this node."""
        return Path.cwd() / (self.working_dir or "")

    @property
    def artifact(self) -> Path:
        """The model file on this node."""
        return self.folder / self.model_path


class TrainingExecutor(ProcessExecutor):
    """Runs the training; keeps nothing of its own."""

    kind = KIND
    config_model: type[ProcessConfig] = TrainingConfig

    async def prepare(self, config: Any) -> None:
        """The working directory and the script must be there, or the file that is to be served."""
        await super().prepare(config)
        if config.script_path is not None:
            await _require_file("config.script_path", config.script_path, config)
        if not config.argv_of_script:
            await _require_file("config.model_path", config.model_path, config)

    def command(self, task: Task) -> Command:
        """The command line, in the folder where its relative paths begin."""
        config: TrainingConfig = task.config
        made = super().command(task)
        env = {
            "CNET_MODEL_PATH": str(config.artifact),
            "CNET_MODEL_TYPE": config.model_type,
            "PYTHONUNBUFFERED": "1",
            **made.env,
        }
        return Command(argv=config.argv, env=env, cwd=str(config.folder))


def serving_config(config: TrainingConfig) -> Mapping[str, Any]:
    """The `config` of the `mlmodel` that serves what was trained here. Blocking.

    Raises ConflictError when the file is not there, or nothing is known that could serve it.
    """
    path = config.artifact
    if not _is_file(path):
        raise ConflictError(
            f"model_path: {str(path)!r} is not a file on this node; the run has not left one there",
            code="no_artifact",
        )
    runtime = None if config.serve == "script" else _runtime(config)
    if runtime is not None:
        return _from_file(runtime, config)
    if config.serve == "file" or not config.argv_of_script:
        raise ConflictError(
            f"model_path: {path.name!r} with model_type {config.model_type} can only be served by "
            "a script, or from a file ending in .onnx or .skops (.joblib and .pkl with "
            "allow_joblib: true)",
            code="not_servable",
        )
    command, *script = config.argv_of_script
    return {
        "model_type": "script",
        "model_path": str(path),
        "command": command,
        "script_path": str(config.folder / script[0]) if script else None,
        "working_dir": str(config.folder),
        "env": {name: value for name, value in config.env.items() if not value.startswith("data:")},
        "secret_env": config.secret_env,
    }


def _runtime(config: TrainingConfig) -> str | None:
    """The runtime that reads the file; None where only its script knows what is in it."""
    if config.model_type not in TRAINED_TYPES:
        return config.model_type
    suffix = PurePosixPath(config.model_path).suffix.lower()
    if suffix in _PICKLES:
        return "sklearn" if config.allow_joblib else None
    return _BY_SUFFIX.get(suffix)


def _from_file(runtime: str, config: TrainingConfig) -> Mapping[str, Any]:
    found: dict[str, Any] = {"model_type": runtime, "model_path": str(config.artifact)}
    if runtime == "sklearn":
        found |= {"allow_joblib": config.allow_joblib, "trusted_types": config.trusted_types}
    return found


async def _require_file(field: str, path: str, config: TrainingConfig) -> None:
    if not await anyio.to_thread.run_sync(_is_file, config.folder / path):
        raise SpecError(f"{field}: {path!r} is not a file on this node", field=field)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file() and os.access(path, os.R_OK)
    except (OSError, ValueError):  # too long a name
        return False
