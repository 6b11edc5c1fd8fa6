"""An executor as somebody outside CNET would write it: a kind `shell` with one field."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from cnet.executors.base import Executor, Task
from cnet.executors.catalog import ExecutorContext
from cnet.executors.commands import Command, CommandExecutor


class ShellConfig(BaseModel):
    """`config` of a shell workload."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    script: str = Field(min_length=1)


class ShellExecutor(CommandExecutor):
    """Hands the script to /bin/sh."""

    kind = "shell"
    config_model = ShellConfig

    def command(self, task: Task) -> Command:
        """The shell with the script."""
        return Command(argv=("/bin/sh", "-c", task.config.script))


def make(context: ExecutorContext) -> Executor:
    """What the entry point names."""
    return ShellExecutor(context.supervisor, context.logs)
