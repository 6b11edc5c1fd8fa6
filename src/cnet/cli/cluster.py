"""`cnet cluster up`, `down`, `status`: several agents on this machine, one per configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cnet.cli import tables
from cnet.cli.exit_codes import ExitCode
from cnet.cli.local import LocalCluster, Standing, default_folder, free_ports, read_members
from cnet.cli.local.members import Member
from cnet.cli.output import emit, emit_json, note
from cnet.cli.session import JsonOption, session_of
from cnet.cli.topology import tree_table
from cnet.client import AgentClient, find_token

app = typer.Typer(add_completion=False)
group = typer.Typer(add_completion=False, no_args_is_help=True)
app.add_typer(group, name="cluster")

DirOption = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="DIR",
        help="Records and logs of the cluster; for `up` also the agents' data, which are else "
        "where their files say. Default: ~/.local/state/cnet/cluster.",
        show_default=False,
    ),
]


@group.callback()
def cluster() -> None:
    """Run several agents on this machine, as a folder of configuration files describes them."""


@group.command()
def up(
    ctx: typer.Context,
    config_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="Each *.yaml in it is an agent.")
    ] = Path("configs"),
    folder: DirOption = None,
    moved: Annotated[
        bool,
        typer.Option(
            "--free-ports", help="Take free ports instead of those in the files, in links, too."
        ),
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="S", help="Seconds until all is up and linked.")
    ] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Start an agent for each configuration, and wait until they are healthy and linked.

    What runs already is left alone. If one fails, those that were started are ended again.
    """
    session = session_of(ctx, agent=None, as_json=as_json)
    local = LocalCluster(folder or default_folder())
    data_dir = local.folder / "data" if folder is not None else None
    members = read_members(config_dir, data_dir=data_dir)
    if moved:
        ports = _moved_ports(members, local)
        members = read_members(config_dir, data_dir=data_dir, ports=ports)
    started = local.up(members, timeout_s=timeout, told=_told(as_json=session.as_json))
    standings = local.status()
    if session.as_json:
        emit_json(_as_object(local, standings) | {"started": started})
        return
    if not started:
        emit("already up")
    _show_tree(standings)
    where = "" if folder is None else f" --dir {folder}"
    emit(f"logs and records are in {local.folder}; `cnet cluster down{where}` ends it")


@group.command()
def down(
    ctx: typer.Context,
    folder: DirOption = None,
    keep: Annotated[
        bool,
        typer.Option("--keep-workloads/--stop-workloads", help="End the agents only."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop all workloads of the cluster, then end its agents.

    With --keep-workloads they run on, and the next `up` takes them up again.
    """
    session = session_of(ctx, agent=None, as_json=as_json)
    local = LocalCluster(folder or default_folder())
    ended = local.down(keep_workloads=keep, told=_told(as_json=session.as_json))
    if session.as_json:
        emit_json({"folder": str(local.folder), "ended": ended})
    else:
        emit(f"ended: {', '.join(ended)}" if ended else f"no cluster is up in {local.folder}")


@group.command()
def status(ctx: typer.Context, folder: DirOption = None, as_json: JsonOption = False) -> int:
    """Show the agents of the cluster; exits with 1 unless there are some and all are healthy."""
    session = session_of(ctx, agent=None, as_json=as_json)
    local = LocalCluster(folder or default_folder())
    standings = local.status()
    well = bool(standings) and all(each.healthy for each in standings)
    if session.as_json:
        emit_json(_as_object(local, standings))
    elif standings:
        tables.console().print(_table(standings))
    else:
        emit(f"no cluster is up in {local.folder}")
    return ExitCode.OK if well else ExitCode.FAILED


def _moved_ports(members: Sequence[Member], local: LocalCluster) -> dict[str, int]:
    """A port for each member; one that was started before keeps its own."""
    ports = local.ports()
    lacking = [member.node_id for member in members if member.node_id not in ports]
    return ports | dict(zip(lacking, free_ports(len(lacking)), strict=True))


def _told(*, as_json: bool) -> Callable[[str], None]:
    return (lambda _line: None) if as_json else note


def _show_tree(standings: Sequence[Standing]) -> None:
    """The nodes as the agent sees them that sees most: the root, where there is one."""
    views = []
    for each in standings:
        with AgentClient(each.process.url, find_token()) as client:
            views.append(client.nodes())
    tables.console().print(tree_table(max(views, key=lambda view: len(view["nodes"]))))


def _as_object(local: LocalCluster, standings: Sequence[Standing]) -> dict[str, object]:
    return {
        "folder": str(local.folder),
        "agents": [each.as_object() for each in standings],
        "count": len(standings),
    }


def _table(standings: Sequence[Standing]) -> Table:
    table = tables.plain_table(
        "NODE", "PID", "URL", "HEALTHY", "PARENT", "PEERS", "WORKLOADS", right=("WORKLOADS",)
    )
    for each in standings:
        row = each.as_object()
        table.add_row(
            tables.cell(row["node_id"]),
            tables.cell(row["pid"] or "not running"),
            tables.cell(row["url"]),
            tables.cell("yes", style="green") if each.healthy else tables.cell("no", style="red"),
            tables.cell(each.parent),
            tables.cell(", ".join(each.peers)),
            tables.cell(each.workloads),
        )
    return table
