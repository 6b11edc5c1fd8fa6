"""`cnet run`: hand workloads to the agent, and stay with them as long as was asked for."""

from __future__ import annotations

from typing import Annotated

import typer

from cnet.cli.exit_codes import ExitCode
from cnet.cli.session import AgentOption, JsonOption, session_of
from cnet.cli.staying import Stay, code_now
from cnet.cli.workload_options import WorkloadOptions, takes_workload
from cnet.errors import SpecError

app = typer.Typer(add_completion=False)

_STAY = "How long to stay"


@app.command(context_settings={"allow_interspersed_args": False})
@takes_workload
def run(
    ctx: typer.Context,
    workload: WorkloadOptions,
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
    found = workload.specs()
    if follow and len(found) > 1:
        raise SpecError(
            f"--follow takes one workload, {workload.file} holds {len(found)}", field="--follow"
        )
    with session.connect() as client:
        stay = Stay(client, as_json=session.as_json, quiet=quiet)
        submitted = [stay.submit(spec, detach=detach) for spec in found]
        if follow:
            return stay.follow(submitted[0])
        codes = [stay.to_end(each) if wait else code_now(each) for each in submitted]
    return next((code for code in codes if code), ExitCode.OK)
