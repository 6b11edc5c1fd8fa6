"""`cnet simulate`: the real placement and delegation over a simulated network, with faults."""

from __future__ import annotations

from typing import Annotated

import typer

from cnet.cli.exit_codes import ExitCode
from cnet.cli.output import emit, emit_json_line, note
from cnet.cli.session import JsonOption, session_of
from cnet.simulator import run

app = typer.Typer(add_completion=False)


@app.command()
def simulate(
    ctx: typer.Context,
    nodes: Annotated[int, typer.Option(min=1, max=100_000, help="Nodes in the tree.")] = 20,
    workloads: Annotated[int, typer.Option(min=1, max=1_000_000, help="Workloads given.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="What happens; the same one repeats it.")] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, help="How many runs, with this seed and the next ones.")
    ] = 1,
    faults: Annotated[
        bool, typer.Option("--faults", help="Lose messages, cut links, kill agents.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Run CNET's own decisions over an in-memory network, no agent needed.

    Stops at the first run that breaks a promise (a workload run twice, room given out twice), with
    the command that repeats it, and exits with 1.
    """
    session = session_of(ctx, agent=None, as_json=as_json)
    for number in range(seed, seed + seeds):
        report = run(nodes=nodes, workloads=workloads, seed=number, faults=faults)
        if session.as_json:
            emit_json_line(
                {
                    "seed": number,
                    "ok": report.ok,
                    "summary": report.summary,
                    "violation": report.violation,
                }
            )
        else:
            emit(f"seed {number}: {report.summary}")
        if not report.ok:
            note(f"violation: {report.violation}")
            options = f"--nodes {nodes} --workloads {workloads} --seed {number}"
            note(f"repeat: cnet simulate {options}{' --faults' if faults else ''}")
            return ExitCode.FAILED
    return ExitCode.OK
