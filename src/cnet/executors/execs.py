"""Commands that are run inside a workload which runs already: what is asked for, and by whom."""

from __future__ import annotations

import shlex
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cnet.executors.base import Task
from cnet.executors.environment import (
    Text,
    as_texts,
    require_text,
    require_unicode,
    require_variables,
)

MAX_SIDE = 4096
"""Columns or rows of a terminal."""
MAX_STDIN_CHARACTERS = 1024 * 1024


class TerminalSize(BaseModel):
    """Of a terminal, in characters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: int = Field(80, ge=1, le=MAX_SIDE)
    rows: int = Field(24, ge=1, le=MAX_SIDE)


class ExecRequest(BaseModel):
    """One command; what is not said is as the workload has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: list[Text] = Field(
        min_length=1, max_length=10_000, description="a list, or text split as a shell does"
    )
    env: dict[str, Text] = Field(default_factory=dict, max_length=10_000)
    working_dir: str | None = Field(None, min_length=1, max_length=4096)
    user: str | None = Field(None, min_length=1, max_length=128)
    tty: bool = Field(False, description="give it a terminal; its two outputs are one then")
    stdin: bool | str = Field(
        False, description="text for it to read; true, over a WebSocket: what is sent"
    )
    size: TerminalSize = Field(default_factory=TerminalSize)

    @field_validator("command", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        if isinstance(value, str):
            return shlex.split(value)  # its ValueError tells of the quote that is not closed
        return as_texts(value)

    @field_validator("command")
    @classmethod
    def _sound_words(cls, words: list[str]) -> list[str]:
        for word in words:
            require_text(word)
        if not words[0]:
            raise ValueError("must begin with the name of a program")
        return words

    @field_validator("env", mode="before")
    @classmethod
    def _text_values(cls, env: Any) -> Any:
        return as_texts(env) if isinstance(env, dict) else env

    @field_validator("env")
    @classmethod
    def _sound_env(cls, env: dict[str, str]) -> dict[str, str]:
        return require_variables(env)

    @field_validator("stdin")
    @classmethod
    def _sound_stdin(cls, stdin: bool | str) -> bool | str:
        if isinstance(stdin, str):
            require_unicode(stdin)
            if len(stdin) > MAX_STDIN_CHARACTERS:
                raise ValueError(f"text has at most {MAX_STDIN_CHARACTERS} characters")
        return stdin

    @field_validator("working_dir", "user")
    @classmethod
    def _sound_text(cls, text: str | None) -> str | None:
        if text is not None:
            require_text(text)
        return text


class Console(Protocol):
    """Who asked for a command, as the executor sees them. When they leave, it is cancelled."""

    async def started(self) -> None:
        """The command runs."""
        ...

    async def receive(self) -> bytes | TerminalSize | None:
        """What it is to read, or the new size of its terminal; None: there is no more to read.

        None comes once; a terminal may still change its size then.
        """
        ...

    async def send(self, data: bytes, *, error: bool = False) -> None:
        """What it says, `error` on its second output; waits while whoever asked is slow."""
        ...


@runtime_checkable
class Execs(Protocol):
    """An executor whose runs can be looked into by running a command beside them."""

    async def exec(self, task: Task, request: ExecRequest, console: Console) -> int:
        """Run a command inside the present run, by its limits; its exit code, 128 + n for signal n.

        Ends with the run at the latest. Cancelled, nothing of the command is left, or that is
        logged. Raises SpecError for a field that cannot be used there (`exec_failed`: it cannot be
        started), ExecutionError for faults of the machine, UnreachableError when who runs it is
        away, TransitionError when the run has just ended.
        """
        ...
