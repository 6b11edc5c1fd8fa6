"""Who refuses whom; that two ends of a pair come to the same decision is tested over sockets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cnet.cluster.hello import (
    Held,
    Hello,
    Identity,
    Refused,
    hello,
    join_address,
    plain_ip,
    refuse_answer,
    refuse_call,
    split_address,
    stranger,
)
from cnet.register.view import LinkRole

OWN = Identity(node_id="m", instance="own", incarnation=3, port=8080)
OTHER = Identity(node_id="x", instance="other", incarnation=5, port=8081)


def other(role: LinkRole = "peer", **changes: object) -> Hello:
    return hello(replace(OTHER, **changes), role)  # type: ignore[arg-type]


def held(role: LinkRole = "peer", *, dialled: bool = False, incarnation: int = 5) -> Held:
    return Held(instance="other", incarnation=incarnation, role=role, dialled=dialled)


def why(refused: Refused | None) -> str | None:
    return refused.why if refused is not None else None


def test_a_stranger_without_a_link_is_welcome() -> None:
    assert stranger(OWN, other()) is None
    assert refuse_call(OWN, other(), None) is None
    assert refuse_answer(OWN, other(), None, being_called=False) is None


def test_what_can_never_be_linked() -> None:
    assert why(stranger(OWN, hello(OWN, "peer"))) == "self"
    assert why(stranger(OWN, other(node_id="m"))) == "node_id_taken"
    assert why(stranger(OWN, Hello(node_id="x", protocol=2))) == "protocol"


@pytest.mark.parametrize(
    ("caller", "present", "expected"),
    [
        (other("child"), held("child"), None),  # half-open
        (other("peer"), held("peer"), None),
        (other("peer"), held("peer", dialled=True), "duplicate"),  # "m" < "x" dialled
        (other("peer", node_id="a"), held("peer", dialled=True), None),
        (other("child", incarnation=6), held("child"), None),  # restarted
        (other("peer", incarnation=6), held("peer", dialled=True), None),
        (other("child", incarnation=4), held("child"), "duplicate"),  # its former self
        (other("child", instance="else"), held("child"), "node_id_taken"),
        (other("child"), held("peer", dialled=True), None),  # the tree comes first
        (other("peer"), held("child"), "role"),
        (other("peer"), held("parent", dialled=True), "role"),
        (other("child"), held("parent", dialled=True), "role"),
    ],
)
def test_the_one_that_is_called(caller: Hello, present: Held, expected: str | None) -> None:
    assert why(refuse_call(OWN, caller, present)) == expected


@pytest.mark.parametrize(
    ("answer", "present", "expected"),
    [
        (other("peer"), held("peer"), "duplicate"),
        (other("parent"), held("parent", dialled=True), "duplicate"),
        (other("peer", incarnation=6), held("peer"), None),
        (other("peer", instance="else"), held("peer"), "node_id_taken"),
        (other("parent"), held("peer"), None),
        (other("parent"), held("child"), "role"),
        (other("peer"), held("child"), "role"),
    ],
)
def test_the_caller(answer: Hello, present: Held, expected: str | None) -> None:
    for being_called in (False, True):
        assert why(refuse_answer(OWN, answer, present, being_called=being_called)) == expected


def test_of_two_that_call_each_other_the_one_with_the_smaller_name_goes_on() -> None:
    assert refuse_answer(OWN, other("peer"), None, being_called=True) is None
    assert why(refuse_answer(OWN, other(node_id="a"), None, being_called=True)) == "duplicate"
    assert refuse_answer(OWN, other("parent", node_id="a"), None, being_called=True) is None


@pytest.mark.parametrize(
    ("given", "usable"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", ""),
        ("0.0.0.0", ""),
        ("name", ""),
        ("", ""),
    ],
)
def test_addresses_of_use_to_others(given: str, usable: str) -> None:
    assert plain_ip(given) == usable
    if usable:
        assert split_address(join_address(usable, 80)) == (usable, 80)


@pytest.mark.parametrize("address", ["", "10.0.0.1", "10.0.0.1:", "host:80", ":80", "1.2.3.4:x"])
def test_what_is_no_address_is_none(address: str) -> None:
    assert split_address(address) == ("", 0)
