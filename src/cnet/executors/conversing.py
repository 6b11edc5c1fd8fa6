"""What whoever asked for a command inside a run says to it, and hears of it."""

from __future__ import annotations

import anyio

from cnet.errors import CnetError, SpecError
from cnet.executors.execs import Console, ExecRequest, TerminalSize
from cnet.supervision import ExecOrder, ExecProcess, Run, exec_in

_TERMINAL = {"TERM": "xterm"}


async def converse(run: Run, request: ExecRequest, console: Console) -> int:
    """See `Execs.exec`."""
    try:
        async with exec_in(run, _order(request)) as process:
            await console.started()
            return await _pump(process, console)
    except SpecError as error:
        if error.field == "run_as":
            raise SpecError(error.message.replace("run_as", "user", 1), field="user") from error
        raise


def _order(request: ExecRequest) -> ExecOrder:
    size = request.size
    return ExecOrder(
        argv=request.command,
        env={**(_TERMINAL if request.tty else {}), **request.env},
        cwd=request.working_dir,
        user=request.user,
        reads=bool(request.stdin),
        size=(size.rows, size.columns) if request.tty else None,
    )


async def _pump(process: ExecProcess, console: Console) -> int:
    failure: CnetError | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_hand_in, process, console)
        try:
            await _hand_out(process, console)
        except CnetError as error:  # raised below: a task group would wrap it
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return await process.exit_code()


async def _hand_in(process: ExecProcess, console: Console) -> None:
    reads = True
    while True:  # also when it reads no more: whoever asked must not be held up
        item = await console.receive()
        try:
            if isinstance(item, TerminalSize):
                process.resize((item.rows, item.columns))
            elif item is None and reads:
                await process.end_input()
            elif item is not None and reads:
                await process.write(item)
        except OSError:
            reads = False  # what it says, or its end, tells the rest


async def _hand_out(process: ExecProcess, console: Console) -> None:
    async def hand_on(output: int) -> None:
        while data := await process.read(output):
            await console.send(data, error=output in process.outputs[1:])

    async with anyio.create_task_group() as group:
        for output in process.outputs:
            group.start_soon(hand_on, output)
