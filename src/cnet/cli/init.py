"""`cnet init`: make the token that agents reachable from elsewhere ask for."""

from __future__ import annotations

from typing import Annotated

import typer

from cnet.cli.output import emit, emit_json
from cnet.cli.session import JsonOption, session_of
from cnet.client import create_token, read_token
from cnet.config import default_token_file

app = typer.Typer(add_completion=False)


@app.command()
def init(
    ctx: typer.Context,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the token; agents must be restarted.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Print the token itself, too; one that exists is kept.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make an access token for agents that listen beyond this machine.

    It is written to ${XDG_CONFIG_HOME:-~/.config}/cnet/token, readable by you only. Agents started
    by you use it, and so does this program. For another machine, copy the file or set CNET_TOKEN.
    """
    session = session_of(ctx, agent=None, as_json=as_json)
    path = default_token_file()
    present = read_token(path) if show and not force else None
    token = present or create_token(path, replace=force)
    if session.as_json:
        emit_json({"token_file": str(path)} | ({"token": token} if show else {}))
        return
    emit(f"token {'is in' if present else 'written to'} {path} (readable by you only)")
    if show:
        emit(token)
