"""`cnet ps`, `describe`, `stop`, `restart`, `rm`: looking at workloads and ending them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import typer

from cnet.cli import tables
from cnet.cli.each import for_each
from cnet.cli.output import emit, emit_described, emit_json, note
from cnet.cli.session import AgentOption, JsonOption, Session, session_of
from cnet.cli.targets import Target, Targets, resolve
from cnet.client import AgentClient, JsonObject
from cnet.client.agent import ENDED, READY_TIMEOUT_S
from cnet.errors import ConflictError

app = typer.Typer(add_completion=False)

Status = Literal["pending", "running", "completed", "failed", "stopped"]
Action = Callable[[AgentClient, JsonObject], JsonObject]


@app.command()
def ps(
    ctx: typer.Context,
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Ended ones, too.")] = False,
    status: Annotated[Status | None, typer.Option(help="Only with this status.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print full ids only.")] = False,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """List workloads: pending and running ones, or all with -a."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        found = client.list(status=status, type=kind)
    shown = [each for each in found if show_all or status or each["status"] not in ENDED]
    if session.as_json:
        emit_json({"workloads": shown, "count": len(shown)})
    elif quiet:
        for each in shown:
            emit(each["id"])
    else:
        tables.console().print(tables.workload_table(shown))
        if len(shown) < len(found):
            note(f"{len(found) - len(shown)} ended not shown; -a shows them")


@app.command()
def describe(
    ctx: typer.Context, target: Target, agent: AgentOption = None, as_json: JsonOption = False
) -> None:
    """Show everything known about a workload."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        workload = resolve(client, target)
    if session.as_json:
        emit_json(workload)
        return
    # The wire repeats the fields of `config` at top level and as `metadata`; once is enough here.
    repeated = {"metadata", *workload.get("config", {})} - {"labels"}  # those are the workload's
    shown = {key: value for key, value in workload.items() if key not in repeated}
    emit_described(shown)


@app.command()
def stop(
    ctx: typer.Context,
    targets: Targets,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Return only once it is really gone.")
    ] = True,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> int:
    """Stop workloads: SIGTERM, the grace time, then SIGKILL to whatever is left of them."""
    session = session_of(ctx, agent=agent, as_json=as_json)

    def end(client: AgentClient, workload: JsonObject) -> JsonObject:
        patience_s = READY_TIMEOUT_S + float(workload.get("stop_grace_s") or 0)
        reply = client.stop(workload["id"], wait=wait, timeout=patience_s)
        return reply.get("workload") or client.get(workload["id"])

    return _each(session, targets, end, done="stopped" if wait else "stopping")


@app.command()
def restart(
    ctx: typer.Context, targets: Targets, agent: AgentOption = None, as_json: JsonOption = False
) -> int:
    """Start workloads again, stopping them first where they run."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    return _each(
        session,
        targets,
        lambda client, workload: client.restart(workload["id"]),
        done="restarted",
    )


@app.command()
def rm(
    ctx: typer.Context,
    targets: Targets,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Stop it first; one that is gone is no error.")
    ] = False,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> int:
    """Remove workloads that have ended, or with -f any."""
    session = session_of(ctx, agent=agent, as_json=as_json)

    def remove(client: AgentClient, workload: JsonObject) -> JsonObject:
        if workload["status"] not in ENDED and not force:
            raise ConflictError(
                f"{workload['name']!r} is {workload['status']}; stop it first, or use --force",
                code="wrong_state",
            )
        client.delete(workload["id"])
        return workload

    return _each(session, targets, remove, done="removed", missing_ok=force)


def _each(
    session: Session, targets: Sequence[str], action: Action, *, done: str, missing_ok: bool = False
) -> int:
    return for_each(
        session,
        targets,
        lambda client, target: action(client, resolve(client, target)),
        done=done,
        missing_ok=missing_ok,
    )
