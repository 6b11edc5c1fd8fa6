"""Ports for workloads that want several: all of them, or what was held before."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from cnet.errors import PortTakenError
from cnet.executors.base import WantedPort
from cnet.manager.ports import PORT_RANGE, choose_ports, require_free
from cnet.register import PortBook

HOST = "127.0.0.1"
ANY = WantedPort(host=HOST, port=0)


@pytest.fixture
def taken() -> Iterator[int]:
    """A TCP port that a stranger listens on."""
    with socket.create_server((HOST, 0)) as listener:
        yield listener.getsockname()[1]


def fixed(port: int, protocol: str = "tcp", field: str = "config.ports") -> WantedPort:
    return WantedPort(host=HOST, port=port, protocol=protocol, field=field)  # type: ignore[arg-type]


def test_each_gets_a_port_of_its_own() -> None:
    book = PortBook()
    ports = choose_ports(book, "a", [ANY] * 5, last=[])
    assert len(set(ports)) == 5 and all(port in PORT_RANGE for port in ports)
    assert book.held("a") == set(ports)
    assert not set(choose_ports(book, "b", [ANY] * 5, last=[])) & set(ports)


def test_the_former_ones_are_taken_again() -> None:
    book = PortBook()
    ports = choose_ports(book, "a", [ANY] * 3, last=[])
    assert choose_ports(book, "a", [ANY] * 3, last=ports) == ports
    book.release("a")
    book.claim(ports[1], "b")
    again = choose_ports(book, "a", [ANY] * 3, last=ports)
    assert (again[0], again[2]) == (ports[0], ports[2]) and again[1] not in ports
    assert choose_ports(book, "a", [ANY], last=again) == again[:1]
    assert book.held("a") == {again[0]}, "what is wanted no more is given back"


def test_a_refusal_takes_nothing_and_gives_nothing_back(taken: int) -> None:
    book = PortBook()
    before = choose_ports(book, "a", [ANY], last=[])
    with pytest.raises(PortTakenError, match=rf"config\.ports: {taken} on {HOST} is held by "):
        choose_ports(book, "a", [ANY, ANY, fixed(taken)], last=[])
    assert book.held("a") == set(before)
    book.claim(7, "other")
    with pytest.raises(PortTakenError, match=r"config\.ports: 7 is held by workload other"):
        choose_ports(book, "a", [fixed(7)], last=before)


def test_tcp_and_udp_are_apart(taken: int) -> None:
    book = PortBook()
    require_free(book, "a", fixed(taken, "udp"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((HOST, 0))
        number = stranger.getsockname()[1]
        with pytest.raises(PortTakenError):
            require_free(book, "a", fixed(number, "udp"))
    assert choose_ports(book, "a", [fixed(taken, "udp")], last=[]) == (taken,)


def test_an_address_of_others_is_told_with_its_field() -> None:
    elsewhere = WantedPort(host="192.0.2.1", port=80, field="config.ports")
    with pytest.raises(PortTakenError, match=r"config\.ports: 80 on 192\.0\.2\.1"):
        require_free(PortBook(), "a", elsewhere)
    nowhere = WantedPort(host="no.such.host.invalid", port=80)
    with pytest.raises(PortTakenError, match=r"service_host: 'no\.such\.host\.invalid' is no "):
        require_free(PortBook(), "a", nowhere)
