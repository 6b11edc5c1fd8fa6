"""What agents tell each other of nodes, and how messages find their way."""

from __future__ import annotations

import pytest

from cnet.cluster.exchange import MAX_ADVERTS
from cnet.cluster.frames import Advert, Post, Resync, Update, decode, encode
from cnet.errors import ConflictError, MalformedError, NotFoundError
from cnet.register.view import Description
from tests.support.nodes import ROOM, state
from tests.unit.cluster.network import Edge, Network

CITIES = [
    Edge("nanjing", "jiangsu"),
    Edge("nanjing", "suqian", peers=True),
    Edge("nanjing", "changzhou", peers=True),
    Edge("suqian", "changzhou", peers=True),
]
CHAIN = [Edge("b", "a"), Edge("c", "b"), Edge("d", "c")]


def linked(edges: list[Edge], **options: frozenset[str]) -> Network:
    network = Network(edges, **options)
    network.connect_all()
    network.settle()
    return network


def known(network: Network, name: str) -> dict[str, tuple[str, int, str | None, bool]]:
    return {
        node.node_id: (node.node_type, node.hops, node.via, node.candidate)
        for node in network.exchange(name).view.nodes()
    }


def updates(network: Network, source: str, target: str) -> list[Update]:
    return [frame for frame in network.sent[source, target] if isinstance(frame, Update)]


def test_the_four_cities_know_what_their_links_tell() -> None:
    network = linked(CITIES)
    assert known(network, "jiangsu") == {
        "jiangsu": ("local", 0, None, True),
        "nanjing": ("child", 1, "nanjing", True),
        "suqian": ("peer", 2, "nanjing", True),
        "changzhou": ("peer", 2, "nanjing", True),
    }
    assert known(network, "nanjing") == {
        "nanjing": ("local", 0, None, True),
        "jiangsu": ("parent", 1, "jiangsu", False),
        "suqian": ("peer", 1, "suqian", True),
        "changzhou": ("peer", 1, "changzhou", True),
    }
    assert set(known(network, "suqian")) == {"suqian", "nanjing", "changzhou"}


def test_the_root_sees_the_whole_tree_and_leaves_see_their_parent() -> None:
    network = linked(CHAIN)
    assert known(network, "a")["d"] == ("child", 3, "b", True)
    assert set(known(network, "d")) == {"d", "c"}


def test_a_child_that_escalates_sees_what_its_parent_sees() -> None:
    edges = [*CHAIN, Edge("e", "a"), Edge("a", "p", peers=True)]
    network = linked(edges, escalate=frozenset({"e"}))
    assert known(network, "e") == {
        "e": ("local", 0, None, True),
        "a": ("parent", 1, "a", True),
        "p": ("parent", 2, "a", True),
        "b": ("parent", 2, "a", True),
        "c": ("parent", 3, "a", True),
        "d": ("parent", 4, "a", True),
    }


def test_a_peer_sees_what_is_below_only_when_it_is_shared() -> None:
    edges = [Edge("p", "a", peers=True), Edge("q", "p", peers=True), Edge("b", "a"), Edge("c", "b")]
    assert set(known(linked(edges), "p")) == {"p", "a", "q"}
    network = linked(edges, share=frozenset({"a", "p"}))
    assert known(network, "p")["c"] == ("peer", 3, "a", True)
    assert set(known(network, "q")) == {"q", "p"}, "peers of peers are not passed on"


def test_changes_within_one_flush_travel_as_one_update() -> None:
    network = linked([Edge("b", "a")])
    before = len(updates(network, "b", "a"))
    for _ in range(10):
        network.change("b")
    network.settle()
    (update,) = updates(network, "b", "a")[before:]
    assert [advert.state.seq for advert in update.adverts] == [11]
    node = network.exchange("a").view.get("b")
    assert node is not None and node.state.seq == 11


def test_a_lost_link_leaves_its_nodes_in_sight_as_unreachable() -> None:
    network = linked(CHAIN)
    network.now = 7.0
    network.disconnect(CHAIN[2])
    network.settle()
    for name in ("a", "b", "c"):
        node = network.exchange(name).view.get("d")
        assert node is not None
        assert (node.status, node.since, node.node_type) == ("unreachable", 7.0, "child")
        assert network.exchange(name).view.route("d") is None
    network.connect(CHAIN[2])
    network.settle()
    assert network.exchange("a").view.route("d") == "b"


def test_another_way_is_taken_when_the_shortest_breaks() -> None:
    network = linked([Edge("b", "a"), Edge("c", "a"), Edge("b", "c", peers=True)])
    assert network.exchange("a").view.route("c") == "c"
    network.disconnect(network.edges[1])
    network.settle()
    assert known(network, "a")["c"] == ("child", 2, "b", True)


def test_each_link_is_told_a_way_around_itself() -> None:
    edges = [Edge("b", "a"), Edge("c", "a"), Edge("b", "n", peers=True), Edge("c", "n", peers=True)]
    network = linked(edges, escalate=frozenset({"b", "c"}))
    told = {advert.path for u in updates(network, "a", "b") for advert in u.adverts}
    assert ("a", "c", "n") in told
    assert not any("b" in path for path in told)


def test_what_is_below_is_shared_only_by_ways_that_are_not_the_parents() -> None:
    network = linked([Edge("x", "top"), Edge("kid", "x"), Edge("x", "pal", peers=True)],
                     share=frozenset({"x"}))  # fmt: skip
    x = network.exchange("x")
    below = Advert(state=state("n"), path=("kid", "n"), below=True)
    x.receive("kid", Update(n=2, adverts=(below,)))
    x.receive("top", Update(n=2, adverts=(Advert(state=state("n"), path=("top", "n")),)))
    network.disconnect(network.edges[1])
    network.settle()
    assert x.view.route("n") == "top"
    node = network.exchange("pal").view.get("n")
    assert node is not None and not node.reachable


def test_ways_do_not_chase_each_other() -> None:
    """If what is shared hung on the best way, sharing it would give a better one, and so on."""
    tree = [Edge("b", "a"), Edge("c", "b"), Edge("d", "c"), Edge("e", "c"), Edge("f", "d")]
    peers = [("c", "a"), ("d", "a"), ("e", "a"), ("e", "d"), ("f", "a")]
    network = linked(
        [*tree, *(Edge(one, other, peers=True) for one, other in peers)],
        escalate=frozenset("ade"),
        share=frozenset("abc"),
    )
    assert {node.node_id: node.hops for node in network.exchange("a").view.nodes()} == {
        "a": 0,
        "b": 1,
        "c": 1,
        "d": 1,
        "e": 1,
        "f": 1,
    }


def test_a_node_that_found_another_parent_is_below_the_former_one_no_longer() -> None:
    network = linked([Edge("n", "a"), Edge("n", "b"), Edge("a", "b", peers=True)])
    a, moved = network.exchange("a"), network.edges[0]
    network.disconnect(moved)
    network.settle()
    assert known(network, "a")["n"][0] == "child"
    share = Update(n=99, full=True, adverts=(
        Advert(state=state("b"), path=("b",)),
        Advert(state=state("n", 50, parent="b"), path=("b", "n")),
    ))  # fmt: skip
    a.receive("b", share)
    assert known(network, "a")["n"][0] == "peer"


def test_routes_are_called_out_once_each_way_and_again_for_a_new_incarnation() -> None:
    network = linked([Edge("b", "a"), Edge("c", "b")])
    routes = network.sites["a"].routes
    assert routes == [("b", True), ("c", True)]
    routes.clear()
    network.change("c")
    network.settle()
    assert routes == []
    network.restart("c")
    network.settle()
    assert routes == [("c", False)]
    network.connect_all()
    network.settle()
    assert routes == [("c", False), ("c", True)]
    routes.clear()
    network.sites["b"].incarnation += 1
    network.change("b")
    network.settle()
    assert routes == [("b", True)], "it restarted without the link being seen down"


def test_a_link_that_opens_again_replaces_the_former_one() -> None:
    network = linked([Edge("b", "a")])
    a = network.exchange("a")
    network.sites["a"].routes.clear()
    a.link_up("b", "child")
    assert network.sites["a"].routes == [("b", False), ("b", True)]
    assert a.links() == {"b": "child"}
    a.link_down("b")
    a.link_down("b")
    assert a.links() == {}


def test_a_gap_makes_the_receiver_ask_for_everything_until_it_comes() -> None:
    network = linked([Edge("b", "a")])
    network.change("b")
    network.flush()
    network.flying.clear()  # lost
    network.change("b")
    network.flush()
    network.deliver()
    assert network.sent["a", "b"][-1] == Resync()
    network.flying.clear()  # the question is lost as well
    asked = network.sent["a", "b"].count(Resync())
    for _ in range(3):
        network.now += 1.0
        network.exchange("a").tick()
    assert network.sent["a", "b"].count(Resync()) > asked
    network.settle()
    node = network.exchange("a").view.get("b")
    assert node is not None and node.state.seq == 3
    assert updates(network, "b", "a")[-1].full


def test_a_lost_last_update_is_noticed_by_the_idle_one() -> None:
    network = linked([Edge("b", "a")])
    network.change("b")
    network.flush()
    network.flying.clear()
    network.heal()
    node = network.exchange("a").view.get("b")
    assert node is not None and node.state.seq == 2


def test_an_idle_link_costs_next_to_nothing() -> None:
    network = linked([Edge("b", "a")])
    network.sent.clear()
    network.heal()
    cost = sum(len(encode(frame)) for sent in network.sent.values() for frame in sent)
    assert cost / 40 < 20, f"{cost / 40} bytes a second"


def test_a_full_update_states_everything() -> None:
    network = linked([Edge("b", "a")])
    a = network.exchange("a")
    ghost = Advert(state=state("ghost"), path=("b", "ghost"), below=True)
    a.receive("b", Update(n=2, adverts=(ghost,)))
    assert a.view.get("ghost") is not None
    a.receive("b", Update(n=3, full=True, adverts=(Advert(state=state("b"), path=("b",)),)))
    assert a.view.get("ghost") is None
    a.receive("b", Update(n=2, adverts=(ghost,)))
    assert a.view.get("ghost") is None, "an update that came late says nothing any more"


def test_much_to_tell_is_told_in_parts_and_survives_a_lost_one() -> None:
    network = linked([Edge("b", "a"), Edge("c", "b")])
    b = network.exchange("b")
    leaves = [Advert(state=state(f"n{i}"), path=("c", f"n{i}"), below=True) for i in range(450)]
    b.receive("c", Update(n=2, adverts=tuple(leaves)))
    network.settle()
    assert len(network.exchange("a").view) == 453
    network.disconnect(network.edges[0])
    network.connect(network.edges[0])
    network.flush()
    parts = [frame for frame in updates(network, "b", "a") if frame.full or frame.more]
    assert len(parts[-1].adverts) <= MAX_ADVERTS
    del network.flying[2]  # the middle part
    network.heal()
    view = network.exchange("a").view
    assert len(view) == 453
    assert all(node.reachable for node in view.nodes())


def test_an_older_version_never_replaces_a_newer_one() -> None:
    network = linked([Edge("b", "a"), Edge("c", "a"), Edge("b", "c", peers=True)])
    a = network.exchange("a")
    newer, older = (Advert(state=state("c", seq), path=("b", "c")) for seq in (9, 8))
    n = len(updates(network, "b", "a"))
    a.receive("b", Update(n=n + 1, adverts=(newer,)))
    a.receive("b", Update(n=n + 2, adverts=(older,)))
    node = a.view.get("c")
    assert node is not None and node.state.seq == 9
    assert (node.via, node.hops) == ("c", 1), "content from one link, the way over another"


def test_messages_go_hop_by_hop_and_home() -> None:
    network = linked(CHAIN)
    assert network.exchange("a").post("d", {"assign": 1})
    network.settle()
    assert network.sites["d"].received == [("a", {"assign": 1})]
    assert network.exchange("d").next_hop("a") == "c", "though a is not in d's view"
    assert network.exchange("d").post("a", ["accepted", None])
    network.settle()
    assert network.sites["a"].received == [("d", ["accepted", None])]
    assert network.exchange("a").post("a", "note")
    assert network.sites["a"].received[-1] == ("a", "note")


def test_a_message_without_a_way_is_refused_or_dropped() -> None:
    network = linked(CHAIN)
    assert not network.exchange("a").post("nobody", 1)
    network.disconnect(CHAIN[2])
    assert network.exchange("b").post("d", 1), "b has not heard yet"
    network.settle()
    assert network.exchange("c").dropped == 1
    assert not network.exchange("b").post("d", 1)


def test_a_message_to_a_stranger_goes_up_to_whoever_knows_it() -> None:
    network = linked(CHAIN)
    assert network.exchange("d").post("a", 1), "d knows its parent only"
    network.settle()
    assert network.sites["a"].received == [("d", 1)]
    assert network.exchange("d").next_hop("a") is None
    network.exchange("d").post("nobody", 1)
    network.settle()
    assert network.exchange("a").dropped == 1


def test_what_was_learned_from_messages_goes_with_the_link() -> None:
    network = linked(CHAIN)
    network.exchange("a").post("d", 1)
    network.settle()
    routes = network.sites["d"].routes
    assert routes == [("c", True), ("a", True)]
    network.disconnect(CHAIN[2])
    assert routes[2:] == [("c", False), ("a", False)]
    assert not network.exchange("d").post("a", 1)


def test_what_was_learned_from_messages_goes_when_its_link_has_no_way_any_more() -> None:
    network = linked(CHAIN)
    network.exchange("d").post("a", "hello")
    network.settle()
    assert network.exchange("a").next_hop("d") == "b"
    network.disconnect(CHAIN[2])
    network.settle()
    assert network.exchange("a").next_hop("d") is None
    assert network.sites["a"].routes[-1] == ("d", False)


def test_a_new_link_starts_with_nothing_learned() -> None:
    network = linked(CHAIN)
    network.exchange("a").post("d", 1)
    network.settle()
    network.disconnect(CHAIN[2])
    network.connect(CHAIN[2])
    network.settle()
    assert network.exchange("d").next_hop("a") is None


def test_messages_that_loop_or_go_too_far_are_dropped() -> None:
    network = linked([Edge("b", "a"), Edge("c", "b")])
    b = network.exchange("b")
    b.receive("a", Post(to="c", source="x", path=("x", "b", "a"), body=1))
    far = tuple(f"n{i}" for i in range(15))
    b.receive("a", Post(to="c", source="n0", path=(*far, "a"), body=1))
    b.receive("a", Post(to="a", source="y", path=("y", "a"), body=1))
    network.settle()
    assert b.dropped == 3
    assert network.sites["c"].received == []


def test_what_no_agent_would_send_is_refused() -> None:
    network = linked([Edge("b", "a")])
    a = network.exchange("a")
    with pytest.raises(MalformedError, match="does not lead from b"):
        a.receive("b", Update(n=2, adverts=(Advert(state=state("c"), path=("x", "c")),)))
    with pytest.raises(MalformedError, match="path"):
        a.receive("b", Post(to="a", source="c", path=("c",), body=1))
    a.receive("nobody", Resync())


def test_frames_are_json_and_anything_else_is_malformed() -> None:
    for frame in (
        Resync(),
        Update(n=3, gone=("x",)),
        Update(n=4, full=True, more=True, adverts=(Advert(state=state("a"), path=("a",)),)),
        Post(to="a", source="b", path=("b",), body={"n": [1, None, "x"]}),
    ):
        assert decode(encode(frame)) == frame
    negative = encode(Update(n=1, adverts=(Advert(state=state("a"), path=("a",)),)))
    for data in (
        b"",
        b"[]",
        b'{"frame":"Nonsense"}',
        b'{"frame":"Update"}',
        b'{"frame":"Update","n":"1"}',
        b"\xff\xfe",
        b"[" * 5_000,
        b'{"frame":"Post","to":"a","source":"b","path":["b"],"body":' + b"[" * 5_000,
        negative.replace(b'"cpu":4000', b'"cpu":-1'),
    ):
        with pytest.raises(MalformedError):
            decode(data)


def test_unlinked_nodes_stay_with_whom_they_registered() -> None:
    network = linked(CHAIN)
    c = network.exchange("c")
    c.register("child", "old", Description(ROOM, ROOM))
    network.now += 80.0
    c.heartbeat("old", Description(ROOM, ROOM))
    network.now += 80.0
    assert c.age("old") == 80.0
    network.heal()
    node = c.view.get("old")
    assert node is not None and node.status == "unreachable"
    network.change("d")
    network.settle()
    assert network.exchange("b").view.get("old") is None
    c.unregister("old")
    assert c.view.get("old") is None


def test_a_lost_node_can_be_forgotten_everywhere() -> None:
    network = linked(CHAIN)
    with pytest.raises(ConflictError, match="known by the link to d"):
        network.exchange("c").unregister("d")
    network.disconnect(CHAIN[2])
    network.settle()
    with pytest.raises(ConflictError, match="known by the link to c"):
        network.exchange("b").unregister("d")
    network.exchange("c").unregister("d")
    network.settle()
    assert network.exchange("a").view.get("d") is None
    with pytest.raises(NotFoundError):
        network.exchange("a").unregister("d")


def test_ten_thousand_nodes_reach_the_root_and_its_parent() -> None:
    children = [f"c{i}" for i in range(10)]
    network = linked([Edge("root", "top"), *(Edge(child, "root") for child in children)])
    for child in children:
        network.exchange(child).link_up("leaf", "child")
        for part in range(10):
            names = [f"{child}-{part}-{i}" for i in range(100)]
            adverts = tuple(
                Advert(state=state(name), path=("leaf", name), below=True) for name in names
            )
            update = Update(n=part + 1, full=part == 0, more=part < 9, adverts=adverts)
            network.exchange(child).receive("leaf", update)
            network.settle()
    for name in ("root", "top"):
        view = network.exchange(name).view
        assert len(view) == 10_012
        assert view.route("c7-9-99") == ("c7" if name == "root" else "root")
    network.disconnect(network.edges[1])
    network.settle()
    unreachable = [n for n in network.exchange("top").view.nodes() if not n.reachable]
    assert len(unreachable) == 1_001
