"""`cnet resources` and `cnet nodes`: what there is and what is taken."""

from __future__ import annotations

import typer

from cnet.cli import tables
from cnet.cli.output import emit_json
from cnet.cli.session import AgentOption, JsonOption, session_of
from cnet.client import JsonObject

app = typer.Typer(add_completion=False)


@app.command()
def resources(ctx: typer.Context, agent: AgentOption = None, as_json: JsonOption = False) -> None:
    """Show the quota of the agent's own node."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        found = client.resources()
    if session.as_json:
        emit_json(found)
    else:
        tables.console().print(tables.quota_table(found))


@app.command()
def nodes(ctx: typer.Context, agent: AgentOption = None, as_json: JsonOption = False) -> None:
    """List every node the agent knows, itself first."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        found = client.nodes()
    if session.as_json:
        emit_json(found)
        return
    table = tables.plain_table(
        "NODE", "TYPE", "STATUS", "CPU", "MEMORY", "GPU", "STORAGE", "ADDRESS"
    )
    for each in found["nodes"]:
        table.add_row(
            tables.cell(each["node_id"]),
            tables.cell(each["node_type"]),
            tables.cell(each["status"], style="green" if each["status"] == "active" else "red"),
            *(tables.cell(_share(each, name)) for name in ("cpu", "memory", "gpu", "storage")),
            tables.cell(each.get("address")),
        )
    tables.console().print(table)


def _share(node: JsonObject, resource: str) -> str:
    used, total = node["used"].get(resource, 0), node["total"].get(resource, 0)
    return f"{tables.format_amount(resource, used)} / {tables.format_amount(resource, total)}"
