"""Socket, signals and HTTP server around an application: how service programs live and end."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
from asyncio import Protocol
from types import FrameType
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cnet.errors import ConfigError, PortTakenError

_LOGGER = logging.getLogger(__name__)

RUN_HEADER = "x-cnet-run"
RUN_VARIABLE = "CNET_RUN_ID"
_GRACE_S = 5
_BACKLOG = 1024


def bind(host: str, port: int) -> socket.socket:
    """A TCP socket holding `host`:`port`, not yet accepting; port 0 lets the system choose.

    Raises PortTakenError when somebody else holds the port, ConfigError when the address is none
    of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(f"--host {host} cannot be resolved: {error}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _bind_error(error, host, port) from error
    return listener


def bind_beside(bound: socket.socket) -> socket.socket:
    """Another socket at the same address, for a process of its own; the system shares connections.

    `bound` came from `bind`, must not listen, and holds the port against everybody else.
    Raises PortTakenError.
    """
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener = socket.socket(bound.family, bound.type, bound.proto)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    address = bound.getsockname()
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _bind_error(error, *address[:2]) from error
    return listener


def _bind_error(error: OSError, host: str, port: int) -> PortTakenError | ConfigError:
    if error.errno == errno.EADDRINUSE:
        return PortTakenError(f"port {port} on {host} is held by another process")
    return ConfigError(f"cannot listen on {host} port {port}: {error.strerror}")


def serve(application: Any, listener: socket.socket) -> None:
    """Answer requests until SIGTERM or SIGINT; then finish those under way, within 5 seconds.

    Raises PortTakenError when another process listened on the same port in the meantime.
    """
    config = _config(application, http=OneWriteProtocol)
    _listen(listener)
    uvicorn.Server(config).run(sockets=[listener])


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's own, but for head and body of a reply, which leave in one write."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        gathered = _Gathered(cast("asyncio.Transport", transport), self.loop)
        super().connection_made(cast("asyncio.Transport", gathered))


class _Gathered:
    """A transport that sends at the end of a turn of the event loop what was written during it.

    A system call costs more than all else that is done for a small reply.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it soon."""
        if not self._written:
            self._loop.call_soon(self._flush)
        self._written.append(data)

    def close(self) -> None:
        """Send what was written, and end."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if not self._written:
            return
        written, self._written = self._written, []
        if not self._transport.is_closing():
            self._transport.write(written[0] if len(written) == 1 else b"".join(written))


async def serve_here(
    application: Any,
    listener: socket.socket,
    *,
    protocol: type[Protocol],
    keep_alive_s: int,
) -> None:
    """The same on an event loop that runs already, with connections of a class of one's own."""
    config = _config(application, http=protocol, timeout_keep_alive=keep_alive_s, date_header=True)
    _listen(listener)
    await uvicorn.Server(config).serve(sockets=[listener])


def _config(application: Any, **options: Any) -> uvicorn.Config:
    run_id = os.environ.get(RUN_VARIABLE)
    settings: dict[str, Any] = {"http": "httptools", "date_header": False, **options}
    return uvicorn.Config(
        application,
        loop="uvloop",
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        headers=[(RUN_HEADER, run_id)] if run_id else [],
        timeout_graceful_shutdown=_GRACE_S,
        **settings,
    )


def _listen(listener: socket.socket) -> None:
    # uvicorn repeats the signal it ended for; with these the program then ends with 0, not with
    # the signal.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _note_signal)
    host, port = listener.getsockname()[:2]
    try:
        # Two sockets may be bound to one port with SO_REUSEADDR; only one of them gets to listen.
        # Listening any sooner would let clients connect to a service that has nothing loaded yet.
        listener.listen(_BACKLOG)
    except OSError as error:
        raise _bind_error(error, host, port) from error
    _LOGGER.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)


def _note_signal(number: int, frame: FrameType | None) -> None:
    _LOGGER.info("ended by %s", signal.Signals(number).name)
