"""Ports that are named before anything listens on them."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from cnet._support import ports
from cnet._support.ports import CANDIDATES, ephemeral_ports, free_ports


def test_many_are_distinct_and_can_be_listened_on() -> None:
    found = free_ports(50)
    assert found == sorted(set(found))
    assert set(found) <= set(CANDIDATES)
    for port in found:
        socket.create_server(("127.0.0.1", port)).close()


def test_none_is_named_again_soon() -> None:
    """Whoever asked first has not bound it yet."""
    assert not set(free_ports(200)) & set(free_ports(200))


def test_no_outgoing_connection_takes_one() -> None:
    if CANDIDATES[0] in ephemeral_ports():
        pytest.skip("this machine gives all candidates to outgoing connections")
    assert not set(free_ports(100)) & set(ephemeral_ports())


def test_the_range_of_the_kernel_is_read(tmp_path: Path) -> None:
    file = tmp_path / "range"
    file.write_text("10010\t60999\n")
    assert ephemeral_ports(file) == range(10_010, 61_000)
    assert ephemeral_ports(tmp_path / "none") == range(49_152, 65_536)


@pytest.mark.parametrize(
    ("outgoing", "allowed"),
    [(range(10_002, 65_536), {10_000, 10_001}), (range(1_024, 65_536), set(CANDIDATES))],
)
def test_outside_that_range_where_it_leaves_any(
    monkeypatch: pytest.MonkeyPatch, outgoing: range, allowed: set[int]
) -> None:
    monkeypatch.setattr(ports, "ephemeral_ports", lambda: outgoing)
    monkeypatch.setattr(ports, "_is_free", lambda _host, _port: True)
    assert set(free_ports(2)) <= allowed


def test_one_that_is_listened_on_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    (taken,) = free_ports(1)
    monkeypatch.setattr(ports, "CANDIDATES", range(taken, taken + 1))
    monkeypatch.setattr(ports, "_order", iter([taken, taken]))
    with socket.create_server(("127.0.0.1", taken)), pytest.raises(OSError) as caught:
        free_ports(1)
    assert caught.value.errno == errno.EADDRINUSE
    assert "of 1 ports wanted on 127.0.0.1, 0 are free" in str(caught.value)
    assert free_ports(1) == [taken]


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(OSError) as caught:
        free_ports(1, "192.0.2.1")
    assert caught.value.errno == errno.EADDRNOTAVAIL
