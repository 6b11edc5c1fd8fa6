"""A conversation with a command inside a workload, over a WebSocket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from cnet.client.replies import error_in, foreign
from cnet.client.transport import CONNECT_TIMEOUT_S, Transport
from cnet.errors import UnreachableError

STDERR = 2
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
PIECE_BYTES = 256 * 1024
"""Of what is sent; the agent takes a message of 1 MiB at most."""


class ExecSession:
    """Iterate over it for what the command says; other threads may send meanwhile."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.exit_code: int | None = None
        """once the iteration has ended"""

    def begin(self, request: dict[str, Any]) -> None:
        """The first of all that is sent; an agent that refuses may have closed by then."""
        self._put(json.dumps(request))

    def send(self, data: bytes) -> None:
        """Let the command read that; of no effect once it has ended."""
        for at in range(0, len(data), PIECE_BYTES):
            self._put(data[at : at + PIECE_BYTES])

    def end_of_stdin(self) -> None:
        """There is no more to read."""
        self._put(json.dumps({"end_of_stdin": True}))

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size now."""
        self._put(json.dumps({"size": {"columns": columns, "rows": rows}}))

    def _put(self, message: str | bytes) -> None:
        try:
            self._socket.send(message)
        except ConnectionClosed:
            return  # whoever iterates hears of it

    def __iter__(self) -> Iterator[tuple[bool, bytes]]:
        """Whether it is of the second output, and what was said; until the command has ended.

        Raises the error that the agent tells, UnreachableError when the connection breaks.
        """
        try:
            for message in self._socket:
                if isinstance(message, bytes):
                    yield message[:1] == bytes([STDERR]), message[1:]
                else:
                    self._heed(message)
        except ConnectionClosed as error:
            raise UnreachableError(f"the connection to the agent broke: {error}") from error
        if self.exit_code is None:
            raise UnreachableError("the agent closed the connection before the command had ended")

    def _heed(self, text: str) -> None:
        try:
            words = json.loads(text)
            if "error" in words:
                raise error_in(words)
            self.exit_code = words.get("exit_code", self.exit_code)
        except (ValueError, TypeError, AttributeError):
            raise foreign("the WebSocket said what no agent says") from None


@contextmanager
def exec_session(http: Transport, path: str, request: dict[str, Any]) -> Iterator[ExecSession]:
    """Open one; leaving ends the command. Raises UnreachableError, and what the agent refuses."""
    headers = {} if http.token is None else {"Authorization": f"Bearer {http.token}"}
    try:
        connection = connect(
            f"ws{http.url.removeprefix('http')}{path}",
            additional_headers=headers,
            open_timeout=CONNECT_TIMEOUT_S,
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            proxy=None,
        )
        with connection as socket:
            session = ExecSession(socket)
            session.begin(request)
            yield session
    except InvalidStatus as error:
        body = error.response.body
        try:
            words = json.loads(body)
        except ValueError:
            raise foreign(f"{http.url} answered {error.response.status_code}") from error
        raise error_in(words) from error
    except (OSError, InvalidHandshake) as error:
        raise UnreachableError(f"nothing answers at {http.url} ({error}); {http.hint}") from error
