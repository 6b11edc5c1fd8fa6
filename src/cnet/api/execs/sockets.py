"""A WebSocket's end of a conversation: text is words, bytes are data.

What the command says has its kind as the first byte.
"""

from __future__ import annotations

import orjson
from starlette.types import ASGIApp, Message, Scope
from websockets.frames import CloseCode

from cnet.api.errors import body_of
from cnet.api.execs.frames import MAX_BYTES, MEDIA_TYPE, Frames, Kind, pack
from cnet.cluster.sockets import AcceptedSocket, SocketClosedError
from cnet.errors import CnetError, TooLargeError, UnreachableError

OK = 200
_OF_THE_UPGRADE = frozenset({b"connection", b"origin", b"upgrade"})


class SocketBridge:
    """Makes a POST of a WebSocket that was accepted."""

    def __init__(self, socket: AcceptedSocket) -> None:
        self._socket = socket
        self._frames = Frames()
        self._status = 0
        self._refusal = b""
        self._gone = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Let the application of the node answer; the WebSocket is closed on return."""
        try:
            await app(_post(scope), self._receive, self._send)
            if self._refusal:
                await self._socket.send(self._refusal.decode(errors="replace").strip())
        except UnreachableError as error:
            await self.refuse(error)
        except SocketClosedError:
            return
        await self._socket.close(CloseCode.NORMAL_CLOSURE, "")

    async def refuse(self, error: CnetError) -> None:
        """Say why, and close: a browser shows its page nothing of a handshake that failed."""
        try:
            await self._socket.send(orjson.dumps(body_of(error)).decode())
        except SocketClosedError:
            return
        await self._socket.close(CloseCode.NORMAL_CLOSURE, "")

    async def _receive(self) -> Message:
        """What comes, as of a POST."""
        if self._gone:
            return {"type": "http.disconnect"}
        try:
            message = await self._socket.receive()
        except SocketClosedError:
            self._gone = True
            return {"type": "http.disconnect"}
        kind = Kind.WORDS if isinstance(message, str) else Kind.DATA
        data = message.encode() if isinstance(message, str) else message
        if len(data) > MAX_BYTES:
            self._gone = True
            await self.refuse(TooLargeError(f"message: larger than {MAX_BYTES} bytes"))
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": pack(kind, data), "more_body": True}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            return
        body: bytes = message.get("body", b"")
        if self._status != OK:
            self._refusal += body
            return
        for kind, data in self._frames.feed(body):
            said = data.decode() if kind == Kind.WORDS else bytes([kind]) + data
            try:
                await self._socket.send(said)
            except SocketClosedError:  # dropped, as servers do; `_receive` hears of it, too
                return


def _post(scope: Scope) -> Scope:
    kept = [
        (name, value)
        for name, value in scope["headers"]
        if name not in _OF_THE_UPGRADE and not name.startswith(b"sec-websocket-")
    ]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": scope["path"],
        "raw_path": scope.get("raw_path"),
        "query_string": scope["query_string"],
        "root_path": "",
        "headers": [*kept, (b"content-type", MEDIA_TYPE.encode())],
        "client": scope.get("client"),
        "server": scope.get("server"),
        "state": {},
        "extensions": {},
    }
