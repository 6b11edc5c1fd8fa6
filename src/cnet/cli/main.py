"""`cnet`: the command table and the one place where errors become exit codes.

A command's module is imported when the command is called, so that `cnet version` does not wait for
what `cnet top` needs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from cnet import DEFAULT_URL
from cnet.cli import exit_codes
from cnet.cli.exit_codes import ExitCode
from cnet.cli.output import report
from cnet.cli.session import Session
from cnet.errors import CnetError, SpecError

COMMANDS = {
    "agent": "agent",
    "init": "init",
    "run": "run",
    "plan": "plan",
    "why": "plan",
    "ps": "workloads",
    "describe": "workloads",
    "logs": "streams",
    "exec": "execs",
    "stop": "workloads",
    "restart": "workloads",
    "rm": "workloads",
    "scale": "service",
    "service": "service",
    "top": "top",
    "predict": "predict",
    "data": "data",
    "events": "streams",
    "nodes": "node",
    "node": "node",
    "resources": "node",
    "cluster": "cluster",
    "simulate": "simulate",
    "version": "version",
}
"""Command → module of `cnet.cli` whose `app` holds it; in the order in which help shows them."""


class CommandTable(typer.core.TyperGroup):
    """A group whose commands come out of `COMMANDS`, each imported when it is first asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, without importing anything."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"cnet.cli.{COMMANDS[cmd_name]}")
        found = typer.main.get_command(module.app)  # a group unless it holds one command only
        return found.commands[cmd_name] if isinstance(found, typer.core.TyperGroup) else found


app = typer.Typer(cls=CommandTable, add_completion=True, epilog=exit_codes.HELP)


@app.callback(invoke_without_command=True)
def cnet(
    ctx: typer.Context,
    agent: Annotated[
        str, typer.Option(metavar="URL", envvar="CNET_AGENT", help="The agent to talk to.")
    ] = DEFAULT_URL,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; streams one object a line.")
    ] = False,
) -> None:
    """Run processes and machine-learning services on machines in several places."""
    ctx.obj = Session(url=agent, as_json=as_json)
    if ctx.invoked_subcommand is None:
        sys.stdout.write(ctx.get_help() + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `cnet` with `argv` (default: the process's own); its exit code."""
    return run(typer.main.get_command(app), argv, name="cnet")


def run(command: Any, argv: Sequence[str] | None, *, name: str) -> int:
    """Run a Typer command; every error becomes one line on stderr and an exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json = "--json" in own
    try:
        code = command.main(args=arguments, prog_name=name, standalone_mode=False)
        _flush()
    except CnetError as error:
        report(error, as_json=as_json)
        return exit_codes.for_error(error)
    except typer.TyperException as error:
        report(
            SpecError(f"{error.format_message()} ({name} --help)", code="usage"), as_json=as_json
        )
        return ExitCode.USAGE
    except BrokenPipeError:
        _forget_stdout()
        return ExitCode.FAILED
    return code if isinstance(code, int) else ExitCode.OK


def _flush() -> None:
    """Write out what is buffered while a reader who left can still be handled."""
    sys.stdout.flush()


def _forget_stdout() -> None:
    """Keep the interpreter from complaining at exit about the pipe whose reader has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
