"""What one agent makes of the things its links say."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.errors import ConflictError, NotFoundError
from cnet.register.view import HTTP_SILENCE_S, MAX_REGISTERED, Description, Heard, LinkRole, View
from tests.support.nodes import ROOM, state


def way(*path: str, below: bool = False, reachable: bool = True) -> Heard:
    return Heard(path, reachable=reachable, below=below)


def view_of(*links: tuple[str, LinkRole], escalate: bool = False) -> View:
    view = View("me", escalate=escalate)
    view.set_self(state("me"), 0.0)
    for link, role in links:
        view.link_up(link, role)
        view.learn(link, state(link), way(link, below=role == "child"), 0.0)
    return view


def kinds(view: View) -> dict[str, str]:
    return {node.node_id: node.node_type for node in view.nodes()}


def test_the_own_node_comes_first_and_is_always_a_candidate() -> None:
    view = View("me")
    assert list(view.nodes()) == []
    view.link_up("a", "child")
    view.learn("a", state("a"), way("a", below=True), 0.0)
    view.set_self(state("me"), 0.0)
    own, other = view.nodes()
    assert (own.node_id, own.node_type, own.hops, own.via) == ("me", "local", 0, None)
    assert own.candidate and own.linked and own.reachable
    assert (other.node_id, other.hops, other.via) == ("a", 1, "a")
    assert view.route("me") is None
    assert not view.set_self(state("me"), 1.0), "not a newer version"


def test_a_direct_link_says_what_a_node_is() -> None:
    view = view_of(("kid", "child"), ("pal", "peer"), ("top", "parent"))
    view.learn("kid", state("pal"), way("kid", "pal"), 0.0)
    view.learn("kid", state("grandkid"), way("kid", "x", "grandkid", below=True), 0.0)
    view.learn("kid", state("their-pal"), way("kid", "their-pal"), 0.0)
    view.learn("top", state("uncle"), way("top", "uncle"), 0.0)
    view.learn("top", state("their-pal"), way("top", "their-pal"), 0.0)
    assert kinds(view) == {
        "me": "local",
        "kid": "child",
        "pal": "peer",
        "top": "parent",
        "grandkid": "child",
        "their-pal": "peer",
        "uncle": "parent",
    }


@pytest.mark.parametrize("escalate", [False, True])
def test_the_parent_side_is_a_candidate_for_who_escalates(escalate: bool) -> None:
    view = view_of(("top", "parent"), ("kid", "child"), ("pal", "peer"), escalate=escalate)
    view.learn("top", state("uncle"), way("top", "uncle"), 0.0)
    candidates = {node.node_id for node in view.nodes() if node.candidate}
    assert candidates == {"me", "kid", "pal"} | ({"top", "uncle"} if escalate else set())


def test_the_shortest_reachable_way_is_taken_and_the_newest_content() -> None:
    view = view_of(("a", "child"), ("b", "child"))
    view.learn("a", state("n", 5), way("a", "x", "n", below=True), 1.0)
    view.learn("b", state("n", 4), way("b", "n", below=True), 2.0)
    node = view.get("n")
    assert node is not None
    assert (node.via, node.hops, node.state.seq) == ("b", 2, 5)
    assert view.updated("n") == 1.0
    view.learn("b", state("n", 4), way("b", "n", below=True, reachable=False), 3.0)
    assert view.route("n") == "a"
    view.learn("b", state("n", 1, incarnation=2), way("b", "n", below=True), 4.0)
    node = view.get("n")
    assert node is not None
    assert (node.via, node.state.version) == ("b", (2, 1))
    assert node.since == 0.0 or node.since == 1.0


def test_a_lost_link_makes_unreachable_and_its_return_makes_it_good() -> None:
    view = view_of(("a", "child"))
    view.learn("a", state("n"), way("a", "n", below=True), 0.0)
    assert view.link_down("a", 9.0) == ["a", "n"]
    node = view.get("n")
    assert node is not None
    assert (node.status, node.since, node.via, node.node_type) == ("unreachable", 9.0, "a", "child")
    view.link_up("a", "child")
    assert view.route("n") is None, "not before it is said again"
    view.learn("a", state("n"), way("a", "n", below=True), 12.0)
    node = view.get("n")
    assert node is not None
    assert (node.status, node.since) == ("active", 12.0)
    assert view.link_down("never-seen", 13.0) == []


def test_what_no_link_tells_of_is_gone() -> None:
    view = view_of(("a", "child"), ("b", "peer"))
    changes: list[str] = []
    view.on_change = changes.append
    view.learn("a", state("n"), way("a", "n", below=True), 0.0)
    view.learn("b", state("n"), way("b", "n"), 0.0)
    assert view.withdraw("a", "n", 1.0)
    assert not view.withdraw("a", "n", 1.0)
    assert kinds(view)["n"] == "peer"
    assert view.withdraw("b", "n", 1.0)
    assert view.get("n") is None
    assert "n" not in view.heard_over("a") | view.heard_over("b")
    assert changes == ["n", "n", "n"], "came, turned into a peer, went"


def test_hearing_the_same_again_changes_nothing() -> None:
    view = view_of(("a", "child"))
    changes: list[str] = []
    view.on_change = changes.append
    assert not view.learn("a", state("a"), way("a", below=True), 5.0)
    assert changes == []
    assert view.updated("a") == 0.0


def test_a_new_parent_voids_what_lost_links_said() -> None:
    view = view_of(("a", "child"), ("b", "peer"))
    view.learn("a", state("n", 1, parent="a"), way("a", "n", below=True), 0.0)
    view.link_down("a", 1.0)
    view.learn("b", state("n", 2), way("b", "n"), 2.0)
    assert kinds(view)["n"] == "child", "has merely lost its parent"
    view.learn("b", state("n", 3, parent="b"), way("b", "n"), 3.0)
    assert kinds(view)["n"] == "peer"
    assert view.heard_over("a") == {"a"}


def test_registered_over_http() -> None:
    view = view_of(("a", "child"))

    def register(node_id: str, now: float) -> None:
        said = Description(ROOM, ROOM, address="h:1", labels={"a": "b"})
        view.register_http("peer", node_id, said, now=now)

    register("old", 0.0)
    node = view.get("old")
    assert node is not None
    assert (node.node_type, node.linked, node.candidate, node.status) == (
        "peer",
        False,
        False,
        "active",
    )
    assert view.route("old") is None
    view.tick(HTTP_SILENCE_S)
    assert node.reachable
    view.tick(HTTP_SILENCE_S + 1)
    node = view.get("old")
    assert node is not None
    assert (node.status, node.since) == ("unreachable", HTTP_SILENCE_S + 1)
    less = replace(ROOM, cpu=1)
    view.heartbeat_http("old", Description(ROOM, less, labels={"a": "b"}), now=200.0)
    node = view.get("old")
    assert node is not None
    assert (node.status, node.state.available, node.state.address) == ("active", less, "h:1")
    assert node.state.labels == {"a": "b"}
    for taken in ("me", "a"):
        with pytest.raises(ConflictError, match=taken):
            register(taken, 1.0)
        with pytest.raises(ConflictError):
            view.heartbeat_http(taken, Description(ROOM, ROOM), now=1)
        with pytest.raises(ConflictError, match=taken):
            view.unregister(taken)
    with pytest.raises(NotFoundError, match="stranger"):
        view.heartbeat_http("stranger", Description(ROOM, ROOM), now=1)
    view.unregister("old")
    with pytest.raises(NotFoundError, match="old"):
        view.unregister("old")


def test_only_so_many_can_register() -> None:
    view = view_of()
    for number in range(MAX_REGISTERED + 1):
        refusal = (
            pytest.raises(ConflictError, match="at most") if number == MAX_REGISTERED else None
        )
        with refusal or nullcontext():
            view.register_http("child", f"n{number}", Description(ROOM, ROOM), now=0)
    view.unregister("n0")
    view.register_http("child", "another", Description(ROOM, ROOM), now=0)


def test_relations_are_those_of_links_and_registrations() -> None:
    view = view_of(("kid", "child"), ("top", "parent"))
    view.learn("kid", state("n"), way("kid", "n", below=True), 0.0)
    view.register_http("peer", "old", Description(ROOM, ROOM), now=0)
    view.link_down("top", 1.0)
    found = {node.node_id: view.relation(node.node_id) for node in view.nodes()}
    assert found == {"me": None, "kid": "child", "top": "parent", "n": None, "old": "peer"}
    assert view.relation("nobody") is None


def test_a_link_takes_over_a_registered_name() -> None:
    view = view_of(("a", "child"))
    view.register_http("child", "n", Description(ROOM, ROOM), now=0)
    view.learn("a", state("n"), way("a", "n", below=True), 1.0)
    node = view.get("n")
    assert node is not None and node.linked and node.candidate
    view.tick(1_000.0)
    assert view.route("n") == "a"


def test_a_node_whose_links_are_lost_can_be_forgotten() -> None:
    view = view_of(("a", "child"))
    view.learn("a", state("n"), way("a", "n", below=True), 0.0)
    with pytest.raises(ConflictError, match="known by the link to a"):
        view.unregister("n")
    view.link_down("a", 1.0)
    view.unregister("n")
    assert view.get("n") is None
    assert view.heard_over("a") == {"a"}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["learn", "withdraw", "down", "up"]),
            st.sampled_from(["kid", "pal", "top"]),
            st.sampled_from(["n", "m"]),
            st.integers(1, 4),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_what_is_known_is_what_the_tables_say(
    steps: list[tuple[str, str, str, int, bool]],
) -> None:
    """The incremental view equals one worked out from all that is in force."""
    roles: dict[str, LinkRole] = {"kid": "child", "pal": "peer", "top": "parent"}
    view = View("me")
    seen: dict[str, object] = {}
    view.on_change = lambda node_id: seen.__setitem__(node_id, view.get(node_id))
    said: dict[tuple[str, str], Heard] = {}
    newest: dict[str, int] = {}
    for link, role in roles.items():
        view.link_up(link, role)
    for now, (what, link, node_id, number, flag) in enumerate(steps):
        if what == "learn":
            heard = Heard((link, *("x" for _ in range(number)), node_id), flag, link == "kid")
            view.learn(link, state(node_id, number), heard, now)
            said[link, node_id] = heard
            newest[node_id] = max(newest.get(node_id, 0), number)
        elif what == "withdraw":
            assert view.withdraw(link, node_id, now) == ((link, node_id) in said)
            said.pop((link, node_id), None)
            if not any(node == node_id for _, node in said):
                newest.pop(node_id, None)
        elif what == "down":
            view.link_down(link, now)
            for key, heard in said.items():
                if key[0] == link:
                    said[key] = replace(heard, reachable=False, lost=True)
        else:
            view.link_up(link, roles[link])
        for node_id in ("n", "m"):
            ways = {link: heard for (link, node), heard in said.items() if node == node_id}
            node = view.get(node_id)
            assert seen.get(node_id) == node, "every change is called out"
            if not ways:
                assert node is None
                continue
            assert node is not None
            best = min(ways, key=lambda x: (not ways[x].reachable, len(ways[x].path), x))
            assert (node.via, node.reachable) == (best, ways[best].reachable)
            assert node.state.seq == newest[node_id]
            expected = "child" if "kid" in ways else "peer" if "pal" in ways else "parent"
            assert node.node_type == expected
