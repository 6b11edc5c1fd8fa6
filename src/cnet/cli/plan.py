"""`cnet plan` and `cnet why`: where a workload would go, and why one is where it is."""

from __future__ import annotations

import typer
from rich.table import Table

from cnet.cli import tables
from cnet.cli.exit_codes import ExitCode
from cnet.cli.output import emit, emit_json, emit_json_line, printable
from cnet.cli.session import AgentOption, JsonOption, session_of
from cnet.cli.targets import Target, resolve
from cnet.cli.workload_options import WorkloadOptions, takes_workload
from cnet.client import JsonObject

app = typer.Typer(add_completion=False)


@app.command(context_settings={"allow_interspersed_args": False})
@takes_workload
def plan(
    ctx: typer.Context,
    workload: WorkloadOptions,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show where `cnet run` with the same options would go, and why not elsewhere.

    Nothing is started and nothing is held. Exits with 1 when nothing has room now.
    """
    session = session_of(ctx, agent=agent, as_json=as_json)
    found = workload.specs()
    placed = True
    with session.connect() as client:
        for spec in found:
            answer = client.plan(spec)
            placed = placed and answer["node"] is not None
            if session.as_json:
                emit_json_line(answer | {"name": spec.get("name")})
            else:
                emit(printable(f"{spec.get('name')}: {verdict(answer)}"))
                tables.console().print(explanation(answer))
    return ExitCode.OK if placed else ExitCode.FAILED


@app.command()
def why(
    ctx: typer.Context, target: Target, agent: AgentOption = None, as_json: JsonOption = False
) -> None:
    """Tell why a workload is where it is, or still nowhere."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        workload = resolve(client, target)
        answer = client.why(workload["id"])
    if session.as_json:
        emit_json(answer)
        return
    reason = f" ({answer['status_reason']})" if answer.get("status_reason") else ""
    where = f"on {answer['node']}" if answer.get("node") else "on no node"
    emit(printable(f"{workload['name']}: {answer['status']}{reason} {where}"))
    tables.console().print(explanation(answer))


def verdict(answer: JsonObject) -> str:
    """What a plan comes to, in a few words."""
    if answer["node"] is not None:
        return f"would run on {answer['node']}"
    if answer.get("impossible"):
        return "fits no known node, however long it waits"
    if answer.get("preempts"):
        return f"would make room on {answer['preempts']} by ending preemptible work there"
    return "would wait: no node has room now"


def explanation(answer: JsonObject) -> Table:
    """Every node, those that fit first and best first, each other one with what rules it out."""
    table = tables.plain_table("NODE", "FITS", "REASON")
    for place, node in enumerate(answer["candidates"], start=1):
        table.add_row(tables.cell(node), tables.cell(f"yes, {place}.", style="green"), "")
    for each in answer["rejections"]:
        table.add_row(
            tables.cell(each["node_id"]),
            tables.cell("no", style="red"),
            tables.cell("; ".join(each["reasons"])),
        )
    return table
