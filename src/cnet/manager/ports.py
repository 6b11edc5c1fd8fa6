"""Choosing a TCP port for a service, and saying who holds one that is taken."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence

from cnet.errors import PortTakenError
from cnet.executors.base import WantedPort
from cnet.register import PortBook

PORT_RANGE = range(20_000, 32_000)
"""Below Linux' range for outgoing connections, so that none of those takes the port in between."""
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def choose_ports(
    book: PortBook, workload_id: str, wanted: Sequence[WantedPort], *, last: Sequence[int]
) -> tuple[int, ...]:
    """Claim each wanted port, or for 0 the one that the workload had there before, or a free one.

    Raises PortTakenError naming the holder; then the workload holds what it held before.
    """
    before = book.held(workload_id)
    taken: list[int] = []
    try:
        for index, each in enumerate(wanted):
            former = last[index] if index < len(last) and last[index] not in taken else None
            taken.append(_choose(book, workload_id, each, former))
            book.claim(taken[-1], workload_id)
    except PortTakenError:
        book.keep(workload_id, before)
        raise
    book.keep(workload_id, taken)
    return tuple(taken)


def _choose(book: PortBook, workload_id: str, wanted: WantedPort, last: int | None) -> int:
    if wanted.port:
        require_free(book, workload_id, wanted)
        return wanted.port
    if last is not None and book.holder(last) in {None, workload_id} and _is_free(wanted, last):
        return last
    start = random.randrange(len(PORT_RANGE))  # noqa: S311
    for offset in range(len(PORT_RANGE)):
        port = PORT_RANGE[(start + offset) % len(PORT_RANGE)]
        if book.holder(port) is None and _is_free(wanted, port):
            return port
    raise PortTakenError(
        f"{wanted.field}: no free port on {wanted.host} from {PORT_RANGE.start} to "
        f"{PORT_RANGE.stop - 1}"
    )


def require_free(book: PortBook, workload_id: str, wanted: WantedPort) -> None:
    """Raises PortTakenError when another workload or a stranger holds the port."""
    port = wanted.port
    holder = book.holder(port)
    if holder == workload_id:
        return
    if holder is not None:
        raise PortTakenError(f"{wanted.field}: {port} is held by workload {holder}")
    if not _is_free(wanted, port):
        raise PortTakenError(
            f"{wanted.field}: {port} on {wanted.host} is held by {_stranger(wanted)}"
        )


def _addresses(
    wanted: WantedPort, port: int
) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    host, kind = wanted.host, _KINDS[wanted.protocol]
    try:
        found = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:
        field = "service_host" if wanted.field == "service_port" else wanted.field
        raise PortTakenError(f"{field}: {host!r} is no address of this node ({error})") from error
    return [(family, address) for family, _, _, _, address in found]


def _is_free(wanted: WantedPort, port: int) -> bool:
    for family, address in _addresses(wanted, port):
        with socket.socket(family, _KINDS[wanted.protocol]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, wanted.protocol == "tcp")
            try:
                probe.bind(address)
            except OSError:
                return False
    return True


def _stranger(wanted: WantedPort) -> str:
    """The process that listens on a port, as far as this user may see it."""
    import psutil  # 1 MB, and only asked when a port is refused

    try:
        for connection in psutil.net_connections(wanted.protocol):
            is_it = connection.laddr and connection.laddr.port == wanted.port
            if is_it and connection.pid:
                return f"process {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return "another process"
    return "another process"
