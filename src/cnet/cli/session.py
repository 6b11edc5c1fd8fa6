"""The options every command takes, and the connection they lead to.

`--agent` and `--json` may stand before or after the command's name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from cnet import DEFAULT_URL

if TYPE_CHECKING:
    from cnet.client import AgentClient

AgentOption = Annotated[
    str | None,
    typer.Option("--agent", metavar="URL", help="Agent to talk to, as in `cnet --agent`."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; streams one object a line.")]


@dataclass(frozen=True, slots=True)
class Session:
    """Whom to talk to and how to answer."""

    url: str = DEFAULT_URL
    as_json: bool = False

    def connect(self, *, timeout: float = 30.0) -> AgentClient:
        """A client with the user's token; close it. Raises SpecError and AuthError."""
        from cnet.client import AgentClient, find_token  # 0.2 s, which `cnet agent` need not wait

        return AgentClient(self.url, find_token(), timeout=timeout)


def session_of(ctx: typer.Context, *, agent: str | None, as_json: bool) -> Session:
    """The session of a command: what was said before its name, then what was said after it."""
    outer = ctx.obj if isinstance(ctx.obj, Session) else Session()
    return replace(outer, url=agent or outer.url, as_json=as_json or outer.as_json)
