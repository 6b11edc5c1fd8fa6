"""Which of several addresses an agent believes to be its own."""

from __future__ import annotations

import pytest

from cnet.cluster.addresses import Addresses
from cnet.cluster.sockets import link_url
from cnet.errors import ConfigError


class Recorded:
    def __init__(self, *, advertised: str | None = None, loopback_only: bool = False) -> None:
        self.told: list[str] = []
        self.addresses = Addresses(
            advertised=advertised, loopback_only=loopback_only, changed=self.told.append
        )

    def see(self, by: str, host: str, *, same_host: bool = False, by_parent: bool = False) -> None:
        address = f"{host}:80"
        self.addresses.seen(by, host, address, same_host=same_host, by_parent=by_parent)


def test_one_that_is_configured_stays() -> None:
    recorded = Recorded(advertised="node.example:80")
    recorded.see("a", "10.0.0.1")
    assert recorded.addresses.current == "node.example:80"
    assert recorded.told == []


def test_the_parents_word_counts_most_and_loopback_least() -> None:
    recorded = Recorded()
    recorded.see("b", "127.0.0.1", same_host=True)
    recorded.see("a", "10.0.0.1")
    recorded.see("c", "127.0.0.1", same_host=True, by_parent=True)
    recorded.see("p", "10.0.0.2", by_parent=True)
    recorded.see("0", "10.0.0.3")
    assert recorded.told == ["127.0.0.1:80", "10.0.0.1:80", "10.0.0.2:80"]


def test_loopback_seen_from_another_host_is_a_tunnel() -> None:
    recorded = Recorded()
    recorded.see("a", "127.0.0.1", same_host=False)
    recorded.see("b", "::1", same_host=False)
    recorded.see("c", "")
    assert recorded.told == []


def test_an_agent_on_loopback_cannot_be_reached_at_another_address() -> None:
    recorded = Recorded(loopback_only=True)
    recorded.see("a", "10.0.0.1")
    recorded.see("b", "127.0.0.1", same_host=True)
    assert recorded.told == ["127.0.0.1:80"]


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("localhost:8080", "ws://localhost:8080/api/link"),
        ("[::1]:8080", "ws://[::1]:8080/api/link"),
        ("http://node", "ws://node/api/link"),
        ("https://node:444/", "wss://node:444/api/link"),
        ("ws://node:1", "ws://node:1/api/link"),
        ("WSS://node", "wss://node/api/link"),
    ],
)
def test_where_to_dial(address: str, url: str) -> None:
    assert link_url(address, "parent.address") == url


@pytest.mark.parametrize(
    "address",
    ["", "node", ":80", "node:x", "node:99999", "ftp://node", "http://u@node", "http://n/p"],
)
def test_what_cannot_be_dialled_names_the_setting(address: str) -> None:
    with pytest.raises(ConfigError, match=r"parent\.address: .* allowed: host:port"):
        link_url(address, "parent.address")
