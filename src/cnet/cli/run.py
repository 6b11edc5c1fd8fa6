"""`cnet run`: hand workloads to the agent, and stay with them as long as was asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cnet.cli import specs
from cnet.cli.exit_codes import ExitCode
from cnet.cli.session import AgentOption, JsonOption, session_of
from cnet.cli.sizes import parse_size
from cnet.cli.staying import Stay, code_now
from cnet.errors import SpecError

app = typer.Typer(add_completion=False)

_WORK = "What to run"
_ROOM = "Room and limits"
_STAY = "How long to stay"


@app.command(context_settings={"allow_interspersed_args": False})
def run(
    ctx: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[--] COMMAND ARGS…", help="A process to run.", show_default=False),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", help="Workloads from JSON or YAML; - is stdin."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name; made up when absent.")] = None,
    kind: Annotated[
        str | None,
        typer.Option("--type", help="process, mlmodel, opencv, …", rich_help_panel=_WORK),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(metavar="K=V", help="A config field of the type.", rich_help_panel=_WORK),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="ONNX", help="Serve this YOLO model.", rich_help_panel=_WORK),
    ] = None,
    cascade: Annotated[
        Literal["face", "eye", "smile"] | None,
        typer.Option(help="Serve this OpenCV detector.", rich_help_panel=_WORK),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of a service; 0 is any.", rich_help_panel=_WORK)
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="K[=V]", help="Environment variable.", rich_help_panel=_WORK),
    ] = None,
    secret_env: Annotated[
        list[str] | None,
        typer.Option(metavar="K", help="One whose value is never shown.", rich_help_panel=_WORK),
    ] = None,
    workdir: Annotated[
        str | None, typer.Option(help="Working directory.", rich_help_panel=_WORK)
    ] = None,
    run_as: Annotated[str | None, typer.Option(help="User name.", rich_help_panel=_WORK)] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="K=V", help="Label.")] = None,
    cpu: Annotated[float | None, typer.Option(help="Cores held.", rich_help_panel=_ROOM)] = None,
    memory: Annotated[
        str | None, typer.Option(help="As in 512MiB; a limit, too.", rich_help_panel=_ROOM)
    ] = None,
    storage: Annotated[str | None, typer.Option(help="As in 2GB.", rich_help_panel=_ROOM)] = None,
    gpu: Annotated[int | None, typer.Option(help="Whole devices.", rich_help_panel=_ROOM)] = None,
    cpu_limit: Annotated[
        float | None, typer.Option(help="Cores it may use at most.", rich_help_panel=_ROOM)
    ] = None,
    pids_limit: Annotated[
        int | None, typer.Option(help="Processes at most.", rich_help_panel=_ROOM)
    ] = None,
    queue: Annotated[
        bool, typer.Option("--queue/--no-queue", help="Wait for room.", rich_help_panel=_ROOM)
    ] = True,
    restart: Annotated[
        Literal["never", "on_failure", "always"] | None, typer.Option(help="When to start again.")
    ] = None,
    attempts: Annotated[int | None, typer.Option(help="Restarts at most.")] = None,
    ready_timeout: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds a service may take to be ready.")
    ] = None,
    stop_grace: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds from SIGTERM to SIGKILL.")
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", "-w", help="Until it has ended; its code.", rich_help_panel=_STAY),
    ] = False,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Print its log; implies --wait.", rich_help_panel=_STAY),
    ] = False,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach",
            "--no-wait",
            "-d",
            help="Not even until it has started.",
            rich_help_panel=_STAY,
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print ids only.")] = False,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> int:
    """Run a process or a service, from flags or from a file.

    cnet run --name hello --memory 64MiB -- echo hello

    cnet run --model shapes.onnx --name shapes

    cnet run -f workload.yaml --wait
    """
    session = session_of(ctx, agent=agent, as_json=as_json)
    if detach and (wait or follow):
        raise SpecError("--detach does not go with --wait or --follow", field="--detach")
    flags: dict[str, Any] = {
        "name": name,
        "type": kind,
        "requirements": {
            "cpu": cpu,
            "gpu": gpu,
            "memory": _size(memory, "--memory"),
            "storage": _size(storage, "--storage"),
        },
        "limits": {"cpu": cpu_limit, "pids": pids_limit},
        "restart": {"policy": restart, "attempts": attempts},
        "health": {"ready_timeout_s": ready_timeout},
        "labels": specs.pairs(label or (), option="--label"),
        "queue": None if queue else False,
        "stop_grace_s": stop_grace,
        "run_as": run_as,
        "config": specs.config_values(config or ())
        | {
            "env": specs.environment(env or (), os.environ),
            "secret_env": specs.secrets(secret_env or (), os.environ),
            "working_dir": workdir,
            "service_port": port,
        },
    }
    found = specs.workloads(flags, command=command or [], file=file, model=model, cascade=cascade)
    if follow and len(found) > 1:
        raise SpecError(f"--follow takes one workload, {file} holds {len(found)}", field="--follow")
    with session.connect() as client:
        stay = Stay(client, as_json=session.as_json, quiet=quiet)
        submitted = [stay.submit(spec, detach=detach) for spec in found]
        if follow:
            return stay.follow(submitted[0])
        codes = [stay.to_end(each) if wait else code_now(each) for each in submitted]
    return next((code for code in codes if code), ExitCode.OK)


def _size(text: str | None, option: str) -> int | None:
    return None if text is None else parse_size(text, field=option)
