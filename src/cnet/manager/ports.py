"""Choosing a TCP port for a service, and saying who holds one that is taken."""

from __future__ import annotations

import random
import socket

from cnet.errors import PortTakenError
from cnet.register import PortBook

PORT_RANGE = range(20_000, 32_000)
"""Below Linux' range for outgoing connections, so that none of those takes the port in between."""


def choose_port(
    book: PortBook, workload_id: str, *, host: str, wanted: int, last: int | None
) -> int:
    """Claim `wanted`, or for 0 the port the workload had before, or a free one.

    Raises PortTakenError naming the holder.
    """
    if wanted:
        require_free(book, workload_id, host=host, port=wanted)
        book.claim(wanted, workload_id)
        return wanted
    if last is not None and book.holder(last) in {None, workload_id} and _is_free(host, last):
        book.claim(last, workload_id)
        return last
    book.release(workload_id)
    start = random.randrange(len(PORT_RANGE))  # noqa: S311
    for offset in range(len(PORT_RANGE)):
        port = PORT_RANGE[(start + offset) % len(PORT_RANGE)]
        if book.holder(port) is None and _is_free(host, port):
            book.claim(port, workload_id)
            return port
    raise PortTakenError(
        f"service_port: no free port on {host} from {PORT_RANGE.start} to {PORT_RANGE.stop - 1}"
    )


def require_free(book: PortBook, workload_id: str, *, host: str, port: int) -> None:
    """Raises PortTakenError when another workload or a stranger holds the port."""
    holder = book.holder(port)
    if holder == workload_id:
        return
    if holder is not None:
        raise PortTakenError(f"service_port: {port} is held by workload {holder}")
    if not _is_free(host, port):
        raise PortTakenError(f"service_port: {port} on {host} is held by {_stranger(port)}")


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:
        raise PortTakenError(
            f"service_host: {host!r} is no address of this node ({error})"
        ) from error
    return [(family, address) for family, _, _, _, address in found]


def _is_free(host: str, port: int) -> bool:
    for family, address in _addresses(host, port):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError:
                return False
    return True


def _stranger(port: int) -> str:
    """The process that listens on a port, as far as this user may see it."""
    import psutil  # 1 MB, and only asked when a port is refused

    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                return f"process {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return "another process"
    return "another process"
