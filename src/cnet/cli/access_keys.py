"""`cnet data keys …`: what clients of the data gateways sign with."""

from __future__ import annotations

from typing import Annotated

import typer

from cnet.cli import tables
from cnet.cli.each import for_each
from cnet.cli.output import emit, emit_json, note
from cnet.cli.session import AgentOption, JsonOption, session_of
from cnet.client import AgentClient

group = typer.Typer(add_completion=False, no_args_is_help=True)


@group.command()
def ls(ctx: typer.Context, agent: AgentOption = None, as_json: JsonOption = False) -> None:
    """List the access keys of the node's gateways; secrets are never shown again."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        found = client.data.access_keys()
    if session.as_json:
        emit_json(found)
        return
    table = tables.plain_table("KEY", "BUCKETS", "ACCESS", "CREATED")
    for each in found:
        table.add_row(
            tables.cell(each["access_key_id"]),
            tables.cell("all" if each["buckets"] is None else " ".join(each["buckets"])),
            tables.cell("read" if each["read_only"] else "read, write"),
            tables.cell(each["created_at"] or ""),
        )
    tables.console().print(table)


@group.command()
def create(
    ctx: typer.Context,
    bucket: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="May be repeated. Default: all buckets."),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="It changes nothing.")] = False,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key; its secret is shown now and never again."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        key = client.data.create_access_key(buckets=bucket or None, read_only=read_only)
    if session.as_json:
        emit_json(key)
        return
    emit(f"AWS_ACCESS_KEY_ID={key['access_key_id']}")
    emit(f"AWS_SECRET_ACCESS_KEY={key['secret_access_key']}")
    note("keep the secret: it is not shown again")


@group.command()
def rm(
    ctx: typer.Context,
    key_ids: Annotated[list[str], typer.Argument(metavar="KEY…", help="Ids of access keys.")],
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> int:
    """Revoke keys; gateways refuse them within a second."""
    session = session_of(ctx, agent=agent, as_json=as_json)

    def revoke(client: AgentClient, key_id: str) -> None:
        client.data.revoke_access_key(key_id)

    return for_each(session, key_ids, revoke, done="revoked")
