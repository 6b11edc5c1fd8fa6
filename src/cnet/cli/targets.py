"""Which workload a person means by an id, the start of an id, or a name."""

from __future__ import annotations

import re
import uuid
from typing import Annotated

import typer

from cnet.cli.session import Session
from cnet.client import AgentClient, JsonObject
from cnet.client.agent import ENDED, Workloads
from cnet.errors import CnetError, ConflictError, NotFoundError

_ID_START = re.compile(r"[0-9a-f-]{4,36}")
_MOST_SHOWN = 10
_COMPLETION_PATIENCE_S = 1.0

SHORT_ID = 8
"""Characters of an id that tables show."""


def resolve(client: AgentClient, target: str) -> JsonObject:
    """The one workload that `target` names.

    A full id; else a name, where one that has not ended goes before ended ones; else the start of
    an id, of at least 4 characters. Raises NotFoundError, and ConflictError (code
    `ambiguous_target`) listing the candidates when there are several.
    """
    if _is_id(target):
        return client.get(target.lower())
    named = client.list(name=target)
    if named:
        alive = [workload for workload in named if workload["status"] not in ENDED]
        return _only(alive or named, target)
    if _ID_START.fullmatch(target.lower()):
        started = [each for each in client.list() if each["id"].startswith(target.lower())]
        if started:
            return _only(started, target)
    raise NotFoundError(f"no workload has the name or id {target!r} (`cnet ps -a` lists all)")


def _is_id(target: str) -> bool:
    try:
        return str(uuid.UUID(target)) == target.lower()
    except ValueError:
        return False


def _only(candidates: Workloads, target: str) -> JsonObject:
    if len(candidates) == 1:
        return candidates[0]
    shown = "; ".join(
        f"{each['id']} ({each['name']}, {each['status']})" for each in candidates[:_MOST_SHOWN]
    )
    more = len(candidates) - _MOST_SHOWN
    raise ConflictError(
        f"{target!r} could be any of {len(candidates)} workloads; give an id: {shown}"
        + (f"; and {more} more" if more > 0 else ""),
        code="ambiguous_target",
    )


def complete(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of workloads, for the shell; nothing when no agent answers."""
    outer = ctx.find_root().params.get("agent")
    session = Session(url=outer) if outer else Session()
    try:
        with session.connect(timeout=_COMPLETION_PATIENCE_S) as client:
            names = {workload["name"] for workload in client.list()}
    except CnetError:
        return []  # a completion has nowhere to complain
    return sorted(name for name in names if name.startswith(incomplete))


_HELP = "Name, id, or start of an id (4 characters or more)."
Target = Annotated[str, typer.Argument(metavar="WORKLOAD", help=_HELP, autocompletion=complete)]
Targets = Annotated[
    list[str], typer.Argument(metavar="WORKLOAD…", help=_HELP, autocompletion=complete)
]
