"""Which process the engine is: a former one has taken its containers along when it ended."""

from __future__ import annotations

import socket
import struct

from cnet.executors.container.discovery import UNIX
from cnet.supervision.procfs import start_time

TIMEOUT_S = 10.0
_CREDENTIALS = struct.Struct("3i")
_INIT = 1


def incarnation(address: str) -> str | None:
    """Of the engine that listens at `address`; None where that cannot be told. Blocking.

    That is so for one that is reached by TCP, and where systemd listens in its place.
    """
    if not address.startswith(UNIX):
        return None
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(address.removeprefix(UNIX))
            packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except (OSError, AttributeError):  # away, or a system without it
        return None
    pid, _, _ = _CREDENTIALS.unpack(packed)
    start = start_time(pid) if pid > _INIT else None
    return None if start is None else f"{pid}.{start}"
