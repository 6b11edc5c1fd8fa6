"""Which process the engine is: a former one has taken its containers along when it ended."""

from __future__ import annotations

import socket
import struct

import anyio
from anyio.abc import SocketAttribute

from cnet.executors.container.connecting import Address, connect
from cnet.supervision.procfs import start_time

_CREDENTIALS = struct.Struct("3i")
_INIT = 1


async def incarnation(address: Address, timeout_s: float) -> str | None:
    """Of the engine that listens there; None where that cannot be told.

    That is so for one that is reached by TCP, and where systemd listens in its place.
    """
    if address.socket is None:
        return None
    try:
        with anyio.fail_after(timeout_s):
            async with await connect(address) as stream:
                raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610  not Django's
                packed = raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except (OSError, TimeoutError):
        return None
    pid, _, _ = _CREDENTIALS.unpack(packed)
    start = start_time(pid) if pid > _INIT else None
    return None if start is None else f"{pid}.{start}"
