"""Plans put a workload only where it fits, best node first, and every other node says why not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.model.node import KnownNode
from cnet.model.resources import GIB, Resources
from cnet.model.workload import Strategy, WorkloadSpec
from cnet.scheduler import CHECKS, NodeIndex, failures, plan
from tests.unit.scheduler.nodes import CAPACITY, STRATEGIES, known_nodes, node, spec, specs

NOW = 100.0
ONE_CORE = Resources(cpu=1_000, memory=GIB)


def candidates(wanted: WorkloadSpec, *nodes: KnownNode, strategy: Strategy = "default") -> str:
    return " ".join(plan(wanted, NodeIndex(nodes), strategy=strategy, now=NOW).candidates)


def reasons(wanted: WorkloadSpec, *nodes: KnownNode) -> list[str]:
    return plan(wanted, NodeIndex(nodes), strategy="default", now=NOW).reasons()


@given(
    wanted=specs(),
    nodes=st.lists(known_nodes(), max_size=8, unique_by=lambda n: n.node_id),
    strategy=st.sampled_from(STRATEGIES),
)
def test_every_node_is_a_candidate_or_says_why_not(
    wanted: WorkloadSpec, nodes: list[KnownNode], strategy: Strategy
) -> None:
    made = plan(wanted, NodeIndex(nodes), strategy=strategy, now=NOW)
    by_id = {one.node_id: one for one in nodes}
    room = wanted.requirements.to_resources()
    unknown = {wanted.node} - by_id.keys() - {None}
    assert set(made.candidates) | made.rejections.keys() == by_id.keys() | (
        unknown if not made.candidates else set()
    )
    assert not set(made.candidates) & made.rejections.keys()
    for name in made.candidates:
        assert all(check(wanted, room, by_id[name], NOW) is None for check in CHECKS)
        assert room.fits(by_id[name].state.available)
        assert by_id[name].status == "active"
    for name in made.rejections.keys() - unknown:
        told = [why for _, why in failures(wanted, room, by_id[name], NOW)]
        assert told
        assert all(why in made.rejections[name] for why in told)
    could_ever = any(
        room.fits(one.state.capacity)
        and wanted.type in one.state.kinds
        and wanted.node in (None, one.node_id)
        and one.linked
        and one.candidate
        for one in nodes
    )
    assert made.impossible == (not could_ever and not unknown)


def test_a_node_names_every_reason() -> None:
    assert reasons(
        spec(
            Resources(cpu=1_000, gpu=2, memory=2 * GIB + GIB // 2),
            "container",
            affinity=[{"node_labels": {"gpu": "a100", "zone": "*"}}],
            anti_affinity=[{"workload_labels": {"app": "web"}}],
        ),
        node(
            "suqian",
            available=Resources(cpu=8_000, gpu=1, memory=GIB),
            reachable=False,
            since=58.0,
            draining=True,
            labels={"gpu": "t4"},
            workload_labels={"app=web": 2, "app=db": 1},
        ),
    ) == [
        (
            "suqian: unreachable for 42 s, draining, no executor for container, "
            "label gpu=a100 missing, label zone=* missing, has 2 workloads with app=web "
            "(anti-affinity), memory 1.5 GiB short, too small: gpu 1 device short"
        )
    ]


def test_reasons_read_as_sentences() -> None:
    near_db = spec(affinity=[{"workload_labels": {"app": "db"}}])
    off_ssd = spec(anti_affinity=[{"node_labels": {"disk": "*"}}])
    assert reasons(near_db, node("a")) == ["a: no workload with app=db (affinity)"]
    assert reasons(off_ssd, node("a", labels={"disk": "ssd"})) == [
        "a: has label disk=* (anti-affinity)"
    ]
    assert reasons(spec(), node("a", linked=False)) == ["a: registered over HTTP, has no link"]
    assert reasons(spec(), node("a", candidate=False)) == ["a: not a candidate from here"]
    full = node("a", available=Resources())
    assert reasons(spec(Resources(gpu=1)), full) == ["a: gpu 1 device short"]


def test_what_waiting_cannot_mend_is_impossible() -> None:
    def impossible(wanted: WorkloadSpec, *nodes: KnownNode) -> bool:
        return plan(wanted, NodeIndex(nodes), strategy="default", now=NOW).impossible

    two_gpus = spec(Resources(gpu=2))
    assert impossible(two_gpus, node("a"), node("b", draining=True))
    assert not impossible(
        two_gpus, node("a"), node("b", capacity=CAPACITY + CAPACITY, draining=True)
    )
    assert impossible(spec(kind="container"), node("a"))
    assert not impossible(spec(ONE_CORE), node("a", available=Resources()))
    assert not impossible(spec(affinity=[{"node_labels": {"zone": "x"}}]), node("a"))
    pinned = spec(Resources(gpu=2), node="b")
    assert impossible(pinned, node("a", capacity=CAPACITY + CAPACITY), node("b"))
    assert not impossible(pinned, node("a"))


def test_a_pin_is_explained_by_the_node_asked_for_first() -> None:
    pinned = spec(ONE_CORE, node="nanjing")
    assert candidates(pinned, node("a", node_type="local", hops=0), node("nanjing")) == "nanjing"
    assert reasons(pinned, node("a")) == [
        "nanjing: not known here",
        "a: not the node asked for (nanjing)",
    ]
    assert reasons(pinned, node("a"), node("nanjing", draining=True)) == [
        "nanjing: draining",
        "a: not the node asked for (nanjing)",
    ]


def test_nodes_that_refused_are_left_out_and_long_lists_cut() -> None:
    index = NodeIndex(node(f"n{number}") for number in range(4))
    refused = dict.fromkeys(("n0", "n1", "n2"), "full")
    made = plan(spec(ONE_CORE), index, strategy="default", now=NOW, exclude=refused)
    assert made.candidates == ("n3",)
    assert made.reasons(1) == ["n0: has refused it: full", "and 2 more nodes"]
    assert not made.impossible


def test_the_room_may_differ_from_the_requirements() -> None:
    index = NodeIndex([node("a", available=Resources())])
    held = plan(spec(ONE_CORE), index, strategy="default", now=NOW, wanted=Resources())
    assert held.candidates == ("a",)


def test_default_prefers_what_is_near() -> None:
    nodes = [
        node("above", node_type="parent", hops=1),
        node("peer", node_type="peer", hops=1),
        node("grandchild", hops=2),
        node("child-b", hops=1),
        node("child-a", hops=1),
        node("own", node_type="local", hops=0),
    ]
    assert candidates(spec(), *nodes) == "own child-a child-b grandchild peer above"


def test_best_fit_and_least_loaded_look_at_what_is_left_over() -> None:
    nodes = [
        node("empty"),
        node("half", available=Resources(cpu=4_000, memory=8 * GIB)),
        node("tight", available=ONE_CORE),
        node("large", capacity=Resources(cpu=64_000, memory=128 * GIB)),
        node("large-half", capacity=CAPACITY + CAPACITY, available=CAPACITY),
    ]
    assert (
        candidates(spec(ONE_CORE), *nodes, strategy="best_fit")
        == "tight half large-half empty large"
    )
    assert (
        candidates(spec(ONE_CORE), *nodes, strategy="least_loaded")
        == "large empty large-half half tight"
    )


def test_a_node_without_memory_of_its_own_is_ranked_by_cpu() -> None:
    no_memory = node("none", capacity=Resources(cpu=1_000))
    assert candidates(spec(), no_memory, node("some"), strategy="best_fit") == "none some"


def test_spread_counts_workloads_of_the_same_labels() -> None:
    nodes = [
        node("a", workloads=1, workload_labels={"app=web": 1, "tier=x": 1}),
        node("b", workloads=9, workload_labels={"app=db": 9}),
        node("c", workloads=2, workload_labels={"app=web": 2}, available=ONE_CORE),
        node("d", workloads=2, workload_labels={"app=web": 2}),
    ]
    web = spec(labels={"app": "web"})
    assert candidates(web, *nodes, strategy="spread") == "b a d c"
    assert candidates(spec(), *nodes, strategy="spread") == "a d c b"
    both = spec(labels={"app": "web", "tier": "x"})
    assert candidates(both, *nodes, strategy="spread") == "b d c a"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_preferred_terms_come_before_the_strategy(strategy: Strategy) -> None:
    wanted = spec(
        ONE_CORE,
        affinity=[{"node_labels": {"disk": "ssd"}, "required": False, "weight": 3}],
        anti_affinity=[{"workload_labels": {"app": "web"}, "required": False, "weight": 2}],
    )
    web = {"app=web": 1}
    nodes = [
        node("neither", node_type="local", hops=0, workload_labels=web),
        node("ssd", labels={"disk": "ssd"}, workload_labels=web, hops=3),
        node("calm", hops=2),
        node("both", labels={"disk": "ssd"}, node_type="parent", hops=9),
    ]
    assert candidates(wanted, *nodes, strategy=strategy) == "both ssd calm neither"


DATA = {"inputs": {"data://weights/a.bin": "a", "data://pictures": "pictures/"}}


def test_nodes_that_hold_the_data_come_first_by_how_much_they_hold() -> None:
    nodes = NodeIndex(
        [
            node("near", node_type="local", hops=0),
            node("some", hops=3, data={"weights": 10}),
            node("most", hops=2, data={"weights": 10, "pictures": 5}),
            node("others", data={"tables": 99}),
        ]
    )
    wanted = spec(config=DATA)
    made = plan(wanted, nodes, strategy="default", now=NOW)
    assert made.candidates == ("most", "some", "near", "others")
    assert nodes.best(wanted, Resources(), strategy="default", now=NOW) == "most"
    assert nodes.best(spec(), Resources(), strategy="default", now=NOW) == "near"


def test_data_are_no_reason_to_wait() -> None:
    full = node("full", available=Resources(), data={"weights": 10})
    nodes = NodeIndex([full, node("free")])
    wanted = spec(Resources(cpu=1000), config=DATA)
    assert plan(wanted, nodes, strategy="default", now=NOW).candidates == ("free",)
    assert nodes.best(wanted, Resources(cpu=1000), strategy="default", now=NOW) == "free"


def test_what_was_asked_for_counts_more_than_data() -> None:
    nodes = NodeIndex(
        [
            node("holder", data={"weights": 10}, workloads=2),
            node("empty"),
            node("wanted", labels={"disk": "ssd"}, workloads=1),
        ]
    )
    preferred = [{"node_labels": {"disk": "ssd"}, "required": False}]
    terms = spec(config=DATA, affinity=preferred)
    assert plan(terms, nodes, strategy="default", now=NOW).candidates[0] == "wanted"
    assert plan(spec(config=DATA), nodes, strategy="spread", now=NOW).candidates[0] == "empty"
    assert plan(spec(config=DATA), nodes, strategy="best_fit", now=NOW).candidates[0] == "holder"


def test_data_that_are_gone_draw_nothing() -> None:
    nodes = NodeIndex([node("near", node_type="local"), node("far", data={"weights": 1})])
    assert nodes.best(spec(config=DATA), Resources(), strategy="default", now=NOW) == "far"
    nodes.put(node("far"))
    assert nodes.best(spec(config=DATA), Resources(), strategy="default", now=NOW) == "near"
    nodes.put(node("far", data={"pictures": 1}))
    nodes.remove("far")
    assert nodes.best(spec(config=DATA), Resources(), strategy="default", now=NOW) == "near"
