"""A command that is run inside a run, as the agent holds it: its streams, its terminal, its end."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from cnet.errors import ExecutionError, SpecError, TransitionError
from cnet.supervision import exec_keeper
from cnet.supervision.exec_keeper import LENGTH
from cnet.supervision.run import Run
from cnet.supervision.values import resolve_user

CHUNK_BYTES = 65_536
_END_OF_INPUT = b"\x04"
"""What a terminal takes for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecOrder:
    """What to run; None is as the run has it. `size` (rows, columns): give it a terminal."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str | None = None
    user: str | None = None
    reads: bool = False
    size: tuple[int, int] | None = None


class ExecProcess:
    """One command that has been started. Its methods may be used by several tasks."""

    def __init__(self, ends: _Ends, agent: socket.socket) -> None:
        self._ends = ends
        self._agent = agent
        self._heard = b""

    async def write(self, data: bytes) -> None:
        """Let it read that; waits while it does not. Raises OSError when it reads no more."""
        view = memoryview(data)
        while view:
            if not self._ends.takes_input:
                raise BrokenPipeError("its input has been ended")
            try:
                view = view[os.write(self._ends.input, view) :]
            except BlockingIOError:
                await anyio.wait_writable(self._ends.input)

    async def end_input(self) -> None:
        """There is no more to read."""
        if self._ends.is_terminal:
            await self.write(_END_OF_INPUT)
        else:
            self._ends.close_input()

    @property
    def outputs(self) -> tuple[int, ...]:
        """To be handed to `read`; the second one is that for errors."""
        return self._ends.outputs

    async def read(self, output: int) -> bytes:
        """What it says; b"" when nobody is left who could say more."""
        while True:
            try:
                return os.read(output, CHUNK_BYTES)
            except BlockingIOError:
                await anyio.wait_readable(output)
            except OSError:  # a terminal whose last holder has gone
                return b""

    def resize(self, size: tuple[int, int]) -> None:
        """Rows and columns of its terminal; without one this is of no effect."""
        if self._ends.is_terminal:
            _set_size(self._ends.input, size)

    async def exit_code(self) -> int:
        """128 + n: ended by signal n. Raises TransitionError when nobody could tell."""
        code: int = (await self.hear())["exit_code"]
        return code

    async def hear(self) -> dict[str, Any]:
        """The next words of its keeper."""
        while b"\n" not in self._heard:
            await anyio.wait_readable(self._agent)
            data = self._agent.recv(CHUNK_BYTES)
            if not data:
                raise TransitionError("the command was killed together with what kept it")
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        words: dict[str, Any] = json.loads(line)
        return words


@asynccontextmanager
async def exec_in(run: Run, order: ExecOrder) -> AsyncIterator[ExecProcess]:
    """Start a command; leaving ends it and all that it has started.

    Raises SpecError (`exec_failed`: the program is not there, say), TransitionError when the run
    has just ended, ExecutionError (`exec_failed`) where the machine is short of something.
    """
    content = json.dumps(_order_for_keeper(run, order)).encode()
    mine, its = socket.socketpair()
    ends: _Ends | None = None
    keeper: subprocess.Popen[bytes] | None = None
    try:
        try:
            ends = _Ends(order)
            keeper = await anyio.to_thread.run_sync(partial(_start, its, ends.theirs))
        except OSError as error:
            raise ExecutionError(
                f"cannot start it: {error.strerror}", code="exec_failed"
            ) from error
        finally:
            its.close()
            if ends is not None:
                ends.close_theirs()
        mine.setblocking(False)
        process = ExecProcess(ends, mine)
        await _send(mine, LENGTH.pack(len(content)) + content)
        words = await process.hear()
        if "failure" in words:
            raise SpecError(words["failure"], field="command", code="exec_failed")
        yield process
    finally:
        mine.close()  # at which the keeper ends it
        if ends is not None:
            ends.close()
        if keeper is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(keeper.wait)


def _order_for_keeper(run: Run, order: ExecOrder) -> dict[str, Any]:
    spec, record = run.directory.spec(), run.record
    if spec is None or "argv" not in spec:  # the exit record may have taken its place
        raise TransitionError("the run has just ended")
    user = resolve_user(order.user) if order.user is not None else spec["run_as"]
    in_rlimit = run.limits.get("memory") == "rlimit_data"
    return {
        "argv": list(order.argv),
        "env": {**spec["env"], **order.env},
        "cwd": order.cwd or spec["cwd"],
        "run_as": user,
        "tty": order.size is not None,
        "cgroups": record["cgroups"],
        "data_limit_bytes": spec["limits"]["memory_bytes"] if in_rlimit else None,
        "shim_pid": record["shim_pid"],
        "shim_start": record["shim_start"],
    }


def _start(its: socket.socket, streams: tuple[int, int, int]) -> subprocess.Popen[bytes]:
    stdin, stdout, stderr = streams
    return subprocess.Popen(
        [
            sys.executable,
            "-S",
            "-E",
            "-I",
            "-B",
            str(Path(exec_keeper.__file__)),
            str(its.fileno()),
        ],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=(its.fileno(),),
        start_new_session=True,
        env={},
        cwd="/",
    )


async def _send(agent: socket.socket, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[agent.send(view) :]
        except BlockingIOError:
            await anyio.wait_writable(agent)
        except OSError as error:
            raise TransitionError(f"what keeps the command has gone: {error.strerror}") from error


def _set_size(terminal: int, size: tuple[int, int]) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("=4H", *size, 0, 0))


class _Ends:
    """Both ends of what a command reads and says."""

    def __init__(self, order: ExecOrder) -> None:
        """Raises OSError."""
        self.is_terminal = order.size is not None
        self.outputs: tuple[int, ...] = ()
        self._mine: list[int] = []
        self._theirs: list[int] = []
        try:
            self._open(order)
        except OSError:
            self.close_theirs()
            self.close()
            raise
        for fd in self._mine:
            os.set_blocking(fd, False)

    def _open(self, order: ExecOrder) -> None:
        if order.size is not None:
            terminal, theirs = os.openpty()
            self._mine, self._theirs = [terminal], [theirs]
            _set_size(terminal, order.size)
            self.input, self.outputs = terminal, (terminal,)
            self.theirs = (theirs, theirs, theirs)
            return
        read_end, self.input = self._pipe()
        out, out_end = self._pipe()
        error, error_end = self._pipe()
        self._mine, self._theirs = [self.input, out, error], [read_end, out_end, error_end]
        self.outputs = (out, error)
        self.theirs = (read_end, out_end, error_end)
        if not order.reads:
            self.close_input()

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._mine += ends  # to be closed should the next one fail
        return ends

    @property
    def takes_input(self) -> bool:
        """Whether more can be written."""
        return self.input in self._mine

    def close_input(self) -> None:
        """No more will be written; harmless when repeated."""
        if self.takes_input and not self.is_terminal:
            self._mine.remove(self.input)
            os.close(self.input)

    def close_theirs(self) -> None:
        """Harmless when repeated."""
        for fd in self._theirs:
            os.close(fd)
        self._theirs = []

    def close(self) -> None:
        """Harmless when repeated."""
        for fd in self._mine:
            os.close(fd)
        self._mine = []
