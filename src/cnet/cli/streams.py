"""`cnet logs` and `cnet events`: what workloads say and what happens to them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.text import Text

from cnet.cli import tables
from cnet.cli.output import emit_bytes, emit_json, emit_json_line
from cnet.cli.session import AgentOption, JsonOption, session_of
from cnet.cli.targets import SHORT_ID, Target, complete, resolve
from cnet.client import Event

app = typer.Typer(add_completion=False)


@app.command()
def logs(
    ctx: typer.Context,
    target: Target,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the workload has ended.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", help="How many of the last lines; 0 for all.")
    ] = 100,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what a workload has written to stdout and stderr."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        workload = resolve(client, target)
        if not follow:
            kept = client.logs(workload["id"], lines=lines)
            if session.as_json:
                emit_json(kept)
            else:
                for line in kept["logs"]:
                    emit_bytes(line.encode())
            return
        for raw in client.follow_logs(workload["id"], lines=lines):
            if session.as_json:
                emit_json_line({"line": raw.decode(errors="replace")})
            else:
                emit_bytes(raw)


@app.command()
def events(
    ctx: typer.Context,
    workload: Annotated[
        str | None, typer.Option(help="Only of this workload.", autocompletion=complete)
    ] = None,
    after: Annotated[
        int | None, typer.Option(metavar="SEQ", help="Begin after the event with this number.")
    ] = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what happens, as it happens, until interrupted."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        only = resolve(client, workload)["id"] if workload else None
        console = tables.console()
        for event in client.events(workload_id=only, after=after):
            if session.as_json:
                emit_json_line({"event": event.kind} | event.data)
            elif event.kind == "workload":
                console.print(_line(event), soft_wrap=True)
            elif event.kind == "resources" and only is None:
                console.print(_room(event), soft_wrap=True)


def _line(event: Event) -> Text:
    data = event.data
    status = str(data.get("status", ""))
    rest = [str(data[key]) for key in ("status_reason", "status_detail") if data.get(key)]
    return Text("  ").join(
        [
            tables.cell(_clock(event)),
            tables.status_cell(f"{status:<9}"),
            tables.cell(str(data.get("workload_id", ""))[:SHORT_ID]),
            tables.cell(data.get("name")),
            tables.cell(": ".join(rest)),
        ]
    )


def _room(event: Event) -> Text:
    used = event.data.get("used") or {}
    amounts = (f"{name} {tables.format_amount(name, used[name])}" for name in sorted(used))
    return tables.cell("held now: " + ", ".join(amounts), style="dim")


def _clock(event: Event) -> str:
    """Local time of day; as sent when it cannot be read."""
    time = str(event.data.get("time", ""))
    try:
        return datetime.fromisoformat(time).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return time
