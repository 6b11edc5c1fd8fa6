"""`cnet version`: what is installed here and what answers over there."""

from __future__ import annotations

import typer

from cnet import __version__
from cnet.cli.output import emit, emit_json
from cnet.cli.session import AgentOption, JsonOption, session_of
from cnet.errors import UnreachableError

app = typer.Typer(add_completion=False)

_PATIENCE_S = 2.0


@app.command()
def version(ctx: typer.Context, agent: AgentOption = None, as_json: JsonOption = False) -> None:
    """Show the version of this program and of the agent.

    An agent that does not answer is shown as such and is no error.
    """
    session = session_of(ctx, agent=agent, as_json=as_json)
    try:
        with session.connect(timeout=_PATIENCE_S) as client:
            health = client.health()
    except UnreachableError:
        health = None
    if session.as_json:
        emit_json({"client": __version__, "agent_url": session.url, "agent": health})
        return
    emit(f"cnet {__version__}")
    if health is None:
        emit(f"no agent answers at {session.url}")
    else:
        emit(f"agent {health['version']} ({health['node_id']}) at {session.url}")
