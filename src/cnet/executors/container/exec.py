"""Commands that are run inside a container, and seeing to it that they end.

The engine knows no way to end one: it runs on when its connection is closed. So it is ended by its
process, and where this agent may not do that, by another command in the container. What an agent
that died has left is noted beside the run, and ended by the next one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import structlog
from anyio.abc import ByteStream

from cnet.errors import CnetError, ExecutionError, SpecError, TransitionError
from cnet.executors.container.engine import Engine, EngineAwayError, EngineError
from cnet.executors.container.multiplex import STDERR, Demultiplexer
from cnet.executors.container.records import RunRecords, noted_execs
from cnet.executors.execs import Console, ExecRequest, TerminalSize
from cnet.supervision import procfs

log = structlog.get_logger(__name__)

HANG_UP_S = 1.0
"""Between SIGHUP, as of a terminal that was closed, and SIGKILL."""
LOOK_S = 0.02
NOT_FOUND, CONFLICT, INTERNAL_ERROR = 404, 409, 500
LAST_LOOK_S = 1.0
_NO_DETACHING = "ctrl-@,ctrl-^,ctrl-_,ctrl-@"
"""The engine takes keys for itself; its usual ones are of use in a shell."""


class ContainerExec:
    """One command in one container; `run` it once."""

    def __init__(
        self,
        engine: Engine,
        container_id: str,
        records: RunRecords,
        request: ExecRequest,
        busy: set[str],
    ) -> None:
        """Its id is in `busy` while this agent sees to it, see `sweep`."""
        self._engine = engine
        self._container_id = container_id
        self._records = records
        self._request = request
        self._busy = busy
        self._id = ""
        self._ended = False

    async def run(self, console: Console) -> int:
        """See `Execs.exec`."""
        try:
            self._id = await self._create()
            self._busy.add(self._id)
            try:
                await anyio.to_thread.run_sync(self._records.note_exec, self._id)
                return await self._converse(console)
            finally:
                await self._clear_up()
                self._busy.discard(self._id)
        except EngineError as error:
            if error.status in {NOT_FOUND, CONFLICT}:
                raise TransitionError(f"its container is not running: {error.message}") from error
            if error.status < INTERNAL_ERROR:
                raise SpecError(error.message, field="command", code="exec_failed") from error
            raise ExecutionError(error.message, code="exec_failed") from error

    async def _create(self) -> str:
        request = self._request
        made = await self._engine.post(
            f"containers/{self._container_id}/exec",
            {
                "AttachStdin": bool(request.stdin),
                "AttachStdout": True,
                "AttachStderr": True,
                "Tty": request.tty,
                "DetachKeys": _NO_DETACHING,
                "Cmd": request.command,
                "Env": [f"{name}={value}" for name, value in request.env.items()],
                "WorkingDir": request.working_dir or "",
                "User": request.user or "",
            },
        )
        found: str = made["Id"]
        return found

    async def _converse(self, console: Console) -> int:
        path, body = f"/exec/{self._id}/start", {"Detach": False, "Tty": self._request.tty}
        async with self._engine.conversation(path, body) as (stream, first):
            if self._request.tty:
                await self._resize(self._request.size)
            await console.started()
            failures: list[CnetError] = []
            async with anyio.create_task_group() as group:
                group.start_soon(self._hand_in, console, stream)
                try:
                    await self._hand_out(console, stream, first)
                except CnetError as error:
                    failures.append(error)
                group.cancel_scope.cancel()
        if failures:
            raise failures[0]
        return await self._exit_code()

    async def _hand_in(self, console: Console, stream: ByteStream) -> None:
        reads = True
        while True:  # also when it reads no more: whoever asked must not be held up
            item = await console.receive()
            try:
                if isinstance(item, TerminalSize):
                    await self._resize(item)
                elif item is None and reads:
                    await stream.send_eof()
                elif item is not None and reads:
                    await stream.send(item)
            except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                reads = False  # what it says, or its end, tells the rest

    async def _resize(self, size: TerminalSize) -> None:
        try:
            await self._engine.post(f"exec/{self._id}/resize?h={size.rows}&w={size.columns}")
        except (EngineError, EngineAwayError) as error:  # it has ended, or is about to be told so
            log.debug("not_resized", exec=self._id, why=error.message)

    async def _hand_out(self, console: Console, stream: ByteStream, data: bytes) -> None:
        pieces = Demultiplexer()
        while True:
            if data and self._request.tty:
                await console.send(data)
            elif data:
                for kind, piece in pieces.feed(data):
                    await console.send(piece, error=kind == STDERR)
            try:
                data = await stream.receive()
            except anyio.EndOfStream:
                return

    async def _exit_code(self) -> int:
        """Once it has ended; one that has closed its outputs may go on for long."""
        pause_s = LOOK_S
        while (details := await self._details())["Running"]:
            await anyio.sleep(pause_s)
            pause_s = min(pause_s * 2, LAST_LOOK_S)
        self._ended = True
        code: int | None = details["ExitCode"]
        if code is None:
            raise ExecutionError("the command was not started", code="exec_failed")
        return code

    async def _details(self) -> dict[str, Any]:
        details: dict[str, Any] = await self._engine.get(f"exec/{self._id}/json")
        return details

    async def _clear_up(self) -> None:
        with anyio.CancelScope(shield=True):
            if self._ended or await end(self._engine, self._id):
                await anyio.to_thread.run_sync(self._records.forget_exec, self._id)


async def end(engine: Engine, exec_id: str) -> bool:
    """End a command and what it has started, if it runs; False, and logged, where that failed."""
    try:
        details = await engine.get(f"exec/{exec_id}/json")
        if details["Running"] and details["Pid"] and not await _end_processes(details):
            await _end_inside(engine, details)
    except (EngineError, EngineAwayError) as error:
        if isinstance(error, EngineError) and error.status == NOT_FOUND:
            return True  # the engine has forgotten it with its container
        log.warning("exec_not_ended", exec=exec_id, why=error.message)
        return False
    return True


async def _end_processes(details: Mapping[str, Any]) -> bool:
    """Whether this agent may do so; hang up first, as a terminal does that is closed."""
    pid, container_id = details["Pid"], details["ContainerID"]
    if not is_of_container(pid, container_id):
        return procfs.start_time(pid) is None
    found = {each: procfs.start_time(each) for each in (pid, *procfs.descendants(pid))}
    for number in (signal.SIGHUP, signal.SIGKILL):
        try:
            for each in _living(found):
                _signal(each, number)
        except PermissionError:
            return False
        deadline = anyio.current_time() + HANG_UP_S
        while living := _living(found):
            if anyio.current_time() > deadline:
                break
            await anyio.sleep(LOOK_S)
        if not living:
            return True
    log.warning("exec_still_dying", pid=pid, container=container_id)
    return True


def _living(found: Mapping[int, int | None]) -> list[int]:
    return [pid for pid, start in found.items() if start and procfs.is_same_process(pid, start)]


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


async def _end_inside(engine: Engine, details: Mapping[str, Any]) -> None:
    """By a shell in the container, as its root: this agent may not signal processes of others."""
    inside = _pid_inside(details["Pid"])
    if inside is None:
        return
    command = ["/bin/sh", "-c", f"kill -KILL {inside}"]
    made = await engine.post(
        f"containers/{details['ContainerID']}/exec", {"Cmd": command, "User": "0"}
    )
    await engine.post(f"exec/{made['Id']}/start", {"Detach": True})


def _pid_inside(pid: int) -> int | None:
    """Its number in the container; None when it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in lines.splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return None


def is_of_container(pid: int, container_id: str) -> bool:
    """Whether it is a process of this machine that runs in the container."""
    try:
        return container_id in Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii")
    except OSError:
        return False


async def sweep(engine: Engine, root: Path, busy: set[str]) -> None:
    """End what an agent that died has left running, but those of `busy`."""
    for note in await anyio.to_thread.run_sync(noted_execs, root):
        if note.name not in busy and await end(engine, note.name):
            await anyio.to_thread.run_sync(partial(note.unlink, missing_ok=True))
