"""The node's end of a conversation: a command, and the request that asked for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cnet.api.errors import body_of, error_response, json_response
from cnet.api.execs.frames import MEDIA_TYPE, Frames, Kind, pack, said, words
from cnet.errors import CnetError, MalformedError, SpecError
from cnet.executors.execs import Console, ExecRequest, TerminalSize
from cnet.manager.admission import field_error

MAX_OUTPUT_BYTES = 1024 * 1024
"""Of each output of an answer that is given at the end; a conversation has no bound."""
PIECES_AHEAD = 16
"""So many of what was sent wait for the command: whoever leaves behind more goes unnoticed."""

Run = Callable[[ExecRequest, Console], Awaitable[int]]
"""Runs a command to its end; its exit code."""
Item = bytes | TerminalSize | None


def parsed(content: Mapping[str, Any]) -> ExecRequest:
    """Raises SpecError naming the field."""
    try:
        return ExecRequest.model_validate(content)
    except ValidationError as error:
        raise field_error(error) from None


class CollectedAnswer:
    """Runs a command to its end and keeps what it says."""

    def __init__(self, request: ExecRequest) -> None:
        if request.stdin is True:
            raise SpecError(
                "stdin: true goes with a WebSocket; here it is the text to be read", field="stdin"
            )
        self._request = request
        self._input: list[Item] = [request.stdin.encode(), None] if request.stdin else []
        self._outputs = {False: bytearray(), True: bytearray()}
        self._cut_off = False

    async def respond(self, run: Run, receive: Receive) -> Response:
        """The answer; of no use, and the command ended, when whoever asked leaves."""
        code: int | None = None
        failure: CnetError | None = None

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                continue
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            try:
                code = await run(self._request, self)
            except CnetError as error:  # raised below: a task group would wrap it
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        stdout, stderr = (self._outputs[error].decode(errors="replace") for error in (False, True))
        return json_response(
            {"exit_code": code, "stdout": stdout, "stderr": stderr, "cut_off": self._cut_off}
        )

    async def started(self) -> None:
        """Nobody asks."""

    async def receive(self) -> Item:
        """See Console."""
        if not self._input:
            await anyio.sleep_forever()
        return self._input.pop(0)

    async def send(self, data: bytes, *, error: bool = False) -> None:
        """See Console; what is over the limit is dropped."""
        kept = self._outputs[error]
        room = MAX_OUTPUT_BYTES - len(kept)
        self._cut_off = self._cut_off or len(data) > room
        kept += data[:room]


class Conversation(Response):
    """Frames both ways. The first one that comes is the request; the last that goes, the end."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._frames = Frames()
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An error before the command has been started is an ordinary answer."""
        self._receive, self._send = receive, send
        try:
            first = await self._first()
            if first is None:
                return
            request, early = first
            await self._converse(request, early)
        except CnetError as error:
            if not self._begun:
                await error_response(error)(scope, receive, send)
                return
            await self._put(words(**body_of(error)))
        if self._begun:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _first(self) -> tuple[ExecRequest, list[tuple[Kind, bytes]]] | None:
        """The request, and what came with it; None when whoever asked has left."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return None
            pieces = self._frames.feed(message.get("body", b""))
            if pieces:
                kind, data = pieces[0]
                if kind != Kind.WORDS:
                    raise MalformedError("body: must begin with the request")
                return parsed(said(data)), pieces[1:]
            if not message.get("more_body", False):
                raise MalformedError("body: ends before the request is complete")

    async def _converse(self, request: ExecRequest, early: list[tuple[Kind, bytes]]) -> None:
        send_item, self._items = anyio.create_memory_object_stream[Item](PIECES_AHEAD)
        failure: CnetError | None = None
        code: int | None = None
        async with anyio.create_task_group() as group, send_item, self._items:

            async def listen() -> None:
                try:
                    await self._listen(request, early, send_item)
                except CnetError as error:
                    nonlocal failure
                    failure = error
                group.cancel_scope.cancel()

            group.start_soon(listen)
            try:
                code = await self._run(request, self)
            except CnetError as error:  # raised below: a task group would wrap it
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if code is not None:
            await self._put(words(exit_code=code))

    async def _listen(
        self,
        request: ExecRequest,
        early: list[tuple[Kind, bytes]],
        items: MemoryObjectSendStream[Item],
    ) -> None:
        """Until whoever asked has left."""
        if isinstance(request.stdin, str):
            await items.send(request.stdin.encode())
            await items.send(None)
        pieces = early
        while True:
            for kind, data in pieces:
                for item in _items_of(kind, data, request):
                    await items.send(item)
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            pieces = self._frames.feed(message.get("body", b""))

    async def started(self) -> None:
        """See Console."""
        self._begun = True
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._put(words(started=True))

    async def receive(self) -> Item:
        """See Console."""
        return await self._items.receive()

    async def send(self, data: bytes, *, error: bool = False) -> None:
        """See Console."""
        await self._put(pack(Kind.ERROR_DATA if error else Kind.DATA, data))

    async def _put(self, frame: bytes) -> None:
        await self._send({"type": "http.response.body", "body": frame, "more_body": True})

    _items: MemoryObjectReceiveStream[Item]
    _receive: Receive
    _send: Send


def _items_of(kind: Kind, data: bytes, request: ExecRequest) -> list[Item]:
    """What a piece means to the command. Raises MalformedError, SpecError."""
    if kind == Kind.DATA:
        if request.stdin is not True:
            raise MalformedError("body: the command reads nothing, as stdin is not true")
        return [data] if data else []
    if kind != Kind.WORDS:
        raise MalformedError("body: the second output is the command's")
    content = said(data)
    found: list[Item] = []
    for name, value in content.items():
        if name == "size":
            try:
                found.append(TerminalSize.model_validate(value))
            except ValidationError as error:
                raise field_error(error, prefix=("size",)) from None
        elif name == "end_of_stdin" and value is True:
            found.append(None)
        else:
            raise MalformedError(f"body: {name!r} is neither size nor end_of_stdin: true")
    return found
