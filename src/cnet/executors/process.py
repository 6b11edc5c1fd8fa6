"""`process`: a program of this machine, run once."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any

import anyio
from pydantic import Field, field_validator

from cnet.errors import SpecError
from cnet.executors.base import Task
from cnet.executors.commands import Command
from cnet.executors.data_refs import Input, check_path, check_target, is_ref, parse_ref
from cnet.executors.data_users import DataUser
from cnet.executors.environment import Text, WithEnvironment, as_texts, require_text

SECRET = "***"  # noqa: S105  what replies show instead of a secret
_Ref = Annotated[str, Field(max_length=2048)]
_FILES, _OF_ENV = PurePosixPath("files"), PurePosixPath("env")
"""Folders of inputs, and of what the environment names."""


class ProcessConfig(WithEnvironment):
    """`config` of a process."""

    command: str = Field(min_length=1, max_length=4096, description="a path, or a name on PATH")
    args: list[Text] = Field(default_factory=list, max_length=10_000)
    inputs: dict[_Ref, _Ref] = Field(
        default_factory=dict,
        max_length=1_000,
        description="data://<data_key>[/path] to a place below $CNET_INPUTS",
    )
    working_dir: str | None = Field(
        None,
        max_length=4096,
        description="default: $CNET_INPUTS if there are inputs, else the agent's own",
    )

    @field_validator("args", mode="before")
    @classmethod
    def _text_args(cls, args: Any) -> Any:
        return as_texts(args) if isinstance(args, list) else args

    @field_validator("command", "working_dir")
    @classmethod
    def _no_nul(cls, text: str | None) -> str | None:
        if text is not None:
            require_text(text)
        return text

    @field_validator("args")
    @classmethod
    def _args_without_nul(cls, args: list[str]) -> list[str]:
        for arg in args:
            require_text(arg)
        return args

    @field_validator("env")
    @classmethod
    def _sound_refs(cls, env: dict[str, str]) -> dict[str, str]:
        for value in env.values():
            check_path(value)
        return env

    @field_validator("inputs")
    @classmethod
    def _sound_inputs(cls, inputs: dict[str, str]) -> dict[str, str]:
        for ref, target in inputs.items():
            parse_ref(ref)
            check_target(target)
        places = [PurePosixPath(each) for each in inputs.values() if not each.endswith("/")]
        if len(set(places)) < len(places):
            raise ValueError("two inputs have the same target")
        return inputs


class ProcessExecutor(DataUser):
    """Runs the command as it is given; no shell in between."""

    kind = "process"
    config_model: type[ProcessConfig] = ProcessConfig

    async def prepare(self, config: ProcessConfig) -> None:
        """The working directory must be there."""
        if config.working_dir is not None and not await _is_dir(config.working_dir):
            raise SpecError(
                f"config.working_dir: {config.working_dir!r} is not a directory on this node",
                field="config.working_dir",
            )

    def inputs_of(self, config: ProcessConfig) -> list[Input]:
        """Those that are named as such, and those that variables stand for."""
        inputs = [
            Input(
                ref=parse_ref(ref),
                target=_FILES / target,
                field="config.inputs",
                inside=target.endswith("/"),
            )
            for ref, target in config.inputs.items()
        ]
        values = dict.fromkeys(value for value in config.env.values() if is_ref(value))
        return inputs + [
            Input(
                ref=parse_ref(value),
                target=_OF_ENV / str(number),
                field="config.env",
                inside=True,
            )
            for number, value in enumerate(values)
        ]

    def command(self, task: Task) -> Command:
        """The user's command."""
        config: ProcessConfig = task.config
        env = {
            name: str(self.placed(task, "config.env", parse_ref(value))) if is_ref(value) else value
            for name, value in config.env.items()
        }
        cwd = config.working_dir
        if config.inputs:
            env["CNET_INPUTS"] = str(self.folder(task) / _FILES)
            cwd = cwd or env["CNET_INPUTS"]
        return Command(
            argv=(config.command, *config.args), env={**env, **config.secret_env}, cwd=cwd
        )


async def _is_dir(path: str) -> bool:
    try:
        return await anyio.Path(path).is_dir()
    except OSError:  # too long a name, or a folder that may not be looked into
        return False
