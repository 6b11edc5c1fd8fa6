"""`cnet exec`: run a command inside a workload, with this terminal if that is wanted."""

from __future__ import annotations

import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnet.cli.exit_codes import ExitCode
from cnet.cli.output import emit_json
from cnet.cli.session import AgentOption, JsonOption, session_of
from cnet.cli.targets import Target, resolve
from cnet.errors import SpecError
from cnet.model.notation import pairs

if TYPE_CHECKING:
    from cnet.client.execs import ExecSession

app = typer.Typer(add_completion=False)

CHUNK_BYTES = 65_536


@app.command("exec", context_settings={"allow_interspersed_args": False})
def exec_in(
    ctx: typer.Context,
    target: Target,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND…", help="After --, best.")],
    stdin: Annotated[
        bool, typer.Option("--stdin", "-i", help="Let it read what this command reads.")
    ] = False,
    terminal: Annotated[bool, typer.Option("--tty", "-t", help="Give it a terminal.")] = False,
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="NAME=VALUE", help="A variable.")
    ] = None,
    working_dir: Annotated[
        str | None, typer.Option("--working-dir", "-w", help="Where it starts.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", help="As whom it runs.")] = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> int:
    """Run a command inside a workload that runs; exits with its exit code.

    cnet exec web -- ls /www

    cnet exec -it web -- sh
    """
    session = session_of(ctx, agent=agent, as_json=as_json)
    if terminal and not sys.stdin.isatty():
        raise SpecError("--tty: this command reads from no terminal", field="--tty")
    command = command[1:] if command[0] == "--" else command
    if not command:
        raise SpecError("COMMAND: is missing", field="COMMAND")
    request: dict[str, Any] = {"env": pairs(env or [], option="--env")}
    request |= {"working_dir": working_dir} if working_dir else {}
    request |= {"user": user} if user else {}
    with session.connect() as client:
        workload = resolve(client, target)
        if session.as_json:
            if terminal or stdin:
                raise SpecError("--json: does not go with --stdin or --tty", field="--json")
            reply = client.exec(workload["id"], command, **request)
            emit_json(reply)
            return int(reply["exit_code"])
        if terminal:
            request |= {"tty": True, "size": _size()}
        with client.exec_session(workload["id"], command, stdin=stdin, **request) as conversation:
            return _converse(conversation, stdin=stdin, terminal=terminal)


def _converse(conversation: ExecSession, *, stdin: bool, terminal: bool) -> int:
    with _own_terminal(conversation, raw=terminal):
        if stdin:
            threading.Thread(target=_hand_in, args=(conversation,), daemon=True).start()
        for is_error, data in conversation:
            stream = sys.stderr.buffer if is_error else sys.stdout.buffer
            stream.write(data)
            stream.flush()
    return ExitCode.FAILED if conversation.exit_code is None else conversation.exit_code


def _hand_in(conversation: ExecSession) -> None:
    while data := os.read(sys.stdin.fileno(), CHUNK_BYTES):
        conversation.send(data)
    conversation.end_of_stdin()


@contextmanager
def _own_terminal(conversation: ExecSession, *, raw: bool) -> Iterator[None]:
    """Every key goes to the other terminal, which has the size of this one."""
    if not raw:
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)

    def resized(*_: object) -> None:
        # In a thread: this one may hold a lock that sending takes.
        threading.Thread(target=conversation.resize, kwargs=_size(), daemon=True).start()

    former = signal.signal(signal.SIGWINCH, resized)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, former)


def _size() -> dict[str, int]:
    size = os.get_terminal_size(sys.stdin.fileno())
    return {"columns": max(1, size.columns), "rows": max(1, size.lines)}
