"""Rules of the host that the simulator's network is too kind, or too good at mending, to show."""

from __future__ import annotations

from cnet.delegation.messages import Assign, Gone, Refuse, Status, Want
from tests.unit.delegation.world import INCARNATION, Node


def assign(k: int = 1, *, incarnation: int = INCARNATION) -> Assign:
    return Assign(
        id="w",
        k=k,
        incarnation=incarnation,
        spec={"name": "w", "type": "process"},
        created_at=0.0,
        attempt=0,
        generation=0,
    )


def test_a_request_to_a_former_incarnation_is_refused_for_good() -> None:
    node = Node()
    node.hear(assign(incarnation=INCARNATION - 1))
    assert [type(each) for each in node.sent] == [Refuse]
    node.hear(assign())  # the same assignment: what was refused once never runs
    assert [type(each) for each in node.sent] == [Refuse, Refuse]
    assert not node.known
    node.hear(assign(k=2))
    assert node.driven == ["w"]


def test_it_is_accepted_on_the_disk_before_the_owner_hears_of_it() -> None:
    node = Node()
    node.hear(assign())
    node.hear(assign())  # asked again meanwhile
    assert node.sent == []
    node.sync()
    assert node.sent and {type(each) for each in node.sent} == {Status}
    assert node.driven == ["w"]


def test_a_stop_that_overtakes_the_request_keeps_it_from_running() -> None:
    node = Node()
    node.hear(Want(id="w", k=1, generation=1, desired="stopped"))
    assert [type(each) for each in node.sent] == [Gone]
    node.hear(assign(k=1))
    assert not node.known and not node.driven
    assert isinstance(node.sent[-1], Refuse)
