"""`cnet nodes`, `cnet node …`, `cnet resources`: what there is, what is taken, who takes work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from cnet.cli import tables, topology
from cnet.cli.output import emit, emit_described, emit_json
from cnet.cli.session import AgentOption, JsonOption, Session, session_of
from cnet.client import AgentClient, JsonObject
from cnet.errors import CnetError, SpecError

app = typer.Typer(add_completion=False)
group = typer.Typer(add_completion=False, no_args_is_help=True)
app.add_typer(group, name="node")

_COMPLETION_PATIENCE_S = 1.0


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
def nodes(
    ctx: typer.Context,
    flat: Annotated[
        bool, typer.Option("--table", help="One plain line a node, with type and storage.")
    ] = False,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw the tree of the nodes that the agent knows, with what each has and holds."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        found = client.nodes()
    if session.as_json:
        emit_json(found)
    else:
        tables.console().print(topology.flat_table(found) if flat else topology.tree_table(found))


def complete(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of nodes, for the shell; nothing when no agent answers."""
    outer = ctx.find_root().params.get("agent")
    session = Session(url=outer) if outer else Session()
    try:
        with session.connect(timeout=_COMPLETION_PATIENCE_S) as client:
            names = [node["node_id"] for node in client.nodes()["nodes"]]
    except CnetError:
        return []  # a completion has nowhere to complain
    return sorted(name for name in names if name.startswith(incomplete))


Node = Annotated[
    str,
    typer.Argument(metavar="NODE", help="As `cnet nodes` shows it.", autocompletion=complete),
]


@group.callback()
def node() -> None:
    """Look at a node, and steer what work it takes."""


@group.command()
def describe(
    ctx: typer.Context, node_id: Node, agent: AgentOption = None, as_json: JsonOption = False
) -> None:
    """Show everything known about a node."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        found = client.node(node_id)
    if session.as_json:
        emit_json(found)
    else:
        emit_described(found)


@group.command()
def drain(
    ctx: typer.Context, node_id: Node, agent: AgentOption = None, as_json: JsonOption = False
) -> None:
    """Let a node take no new work; what runs there runs on."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    _change(session, node_id, AgentClient.drain, f"{node_id} takes no new work")


@group.command()
def undrain(
    ctx: typer.Context, node_id: Node, agent: AgentOption = None, as_json: JsonOption = False
) -> None:
    """Let a node take new work again."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    _change(session, node_id, AgentClient.undrain, f"{node_id} takes new work")


@group.command()
def forget(
    ctx: typer.Context, node_id: Node, agent: AgentOption = None, as_json: JsonOption = False
) -> None:
    """Give up a node that will never be back: its workloads are placed again.

    Only where you are sure: nobody can check that they do not run there still.
    """
    session = session_of(ctx, agent=agent, as_json=as_json)
    _change(session, node_id, AgentClient.forget)


@group.command()
def label(
    ctx: typer.Context,
    node_id: Node,
    changes: Annotated[
        list[str], typer.Argument(metavar="K=V… K-…", help="Set a label, or remove it.")
    ],
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set and remove labels of a node.

    cnet node label suqian disk=nvme zone-
    """
    wanted = label_changes(changes)
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        answer = client.label(node_id, wanted)
    labels = answer["node"].get("labels") or {}
    shown = " ".join(f"{key}={value}" for key, value in sorted(labels.items()))
    _show(session, answer, f"{node_id}: {shown or 'no labels'}")


def label_changes(changes: list[str]) -> dict[str, str | None]:
    """`K=V` as a label to set, `K-` as one to remove (None). Raises SpecError."""
    found: dict[str, str | None] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        removed = not equals and key.endswith("-")
        key = key.removesuffix("-") if removed else key
        if not key or not (equals or removed):
            raise SpecError(
                f"{change!r} must be NAME=VALUE to set a label, or NAME- to remove one",
                field="labels",
            )
        found[key] = None if removed else value
    return found


def _change(
    session: Session,
    node_id: str,
    ask: Callable[[AgentClient, str], JsonObject],
    sentence: str | None = None,
) -> None:
    """Ask for a change of a node and show `sentence`, or what the agent says where it is None."""
    with session.connect() as client:
        answer = ask(client, node_id)
    _show(session, answer, str(answer["message"]) if sentence is None else sentence)


def _show(session: Session, answer: JsonObject, sentence: str) -> None:
    if session.as_json:
        emit_json(answer)
    else:
        emit(sentence)
