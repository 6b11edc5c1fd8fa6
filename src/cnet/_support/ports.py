"""TCP ports that can be named before anything listens on them."""

from __future__ import annotations

import errno
import itertools
import random
import socket
from pathlib import Path

CANDIDATES = range(10_000, 20_000)
"""Below those that agents choose for services."""
_IANA_EPHEMERAL = range(49_152, 65_536)

# Each call goes on where the last one ended, so no port is named twice in one process while
# nobody listens on it yet; the order is random, so that other processes rarely name the same.
_order = itertools.cycle(random.sample(CANDIDATES, len(CANDIDATES)))


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that nothing on `host` listens on now, in ascending order.

    They are outside the range for outgoing connections, where that leaves any: a port that the
    kernel has chosen (`bind` to 0) may, once closed, be the local end of the next connection.
    Raises OSError when there are not enough.
    """
    outgoing = ephemeral_ports()
    if CANDIDATES[0] in outgoing and CANDIDATES[-1] in outgoing:
        outgoing = range(0)
    free = (
        port
        for port in itertools.islice(_order, len(CANDIDATES))
        if port not in outgoing and _is_free(host, port)
    )
    found = sorted(itertools.islice(free, count))
    if len(found) < count:
        raise OSError(
            errno.EADDRINUSE,
            f"of {count} ports wanted on {host}, {len(found)} are free "
            f"from {CANDIDATES.start} to {CANDIDATES.stop - 1}",
        )
    return found


def ephemeral_ports(file: Path = Path("/proc/sys/net/ipv4/ip_local_port_range")) -> range:
    """The ports that this machine gives to outgoing connections."""
    try:
        first, last = file.read_text(encoding="ascii").split()
    except FileNotFoundError:
        return _IANA_EPHEMERAL
    return range(int(first), int(last) + 1)


def _is_free(host: str, port: int) -> bool:
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise
        return False
    return True
