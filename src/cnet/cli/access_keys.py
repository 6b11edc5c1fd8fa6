"""`cnet data keys …`: what clients of the data gateways sign with."""

from __future__ import annotations

from typing import Annotated

import typer

from cnet.cli import exit_codes, tables
from cnet.cli.exit_codes import ExitCode
from cnet.cli.output import emit, emit_json, emit_json_line, note, report
from cnet.cli.session import AgentOption, JsonOption, session_of
from cnet.errors import CnetError

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
    first_failure: int = ExitCode.OK
    with session.connect() as client:
        for key_id in key_ids:
            try:
                client.data.revoke_access_key(key_id)
            except CnetError as error:
                report(error, as_json=session.as_json)
                first_failure = first_failure or exit_codes.for_error(error)
                continue
            if session.as_json:
                emit_json_line({"target": key_id, "result": "revoked"})
            else:
                emit(f"{key_id} revoked")
    return first_failure
