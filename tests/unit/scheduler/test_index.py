"""The index finds what a look at every node would find, whatever was put and removed before."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from cnet.model.node import KnownNode
from cnet.model.resources import GIB, Resources
from cnet.model.workload import Strategy, WorkloadSpec
from cnet.scheduler import NodeIndex, plan
from cnet.scheduler import index as index_module
from cnet.scheduler import order as order_module
from tests.unit.scheduler.nodes import STRATEGIES, amounts, known_nodes, node, spec, specs

NOW = 100.0
IDS = [f"n{number}" for number in range(12)]


def first(
    wanted: WorkloadSpec, index: NodeIndex, strategy: Strategy, exclude: Collection[str] = ()
) -> str | None:
    refused = dict.fromkeys(exclude, "no")
    made = plan(wanted, index, strategy=strategy, now=NOW, exclude=refused)
    return next(iter(made.candidates), None)


def best(
    wanted: WorkloadSpec, index: NodeIndex, strategy: Strategy, exclude: Collection[str] = ()
) -> str | None:
    room = wanted.requirements.to_resources()
    return index.best(wanted, room, strategy=strategy, now=NOW, exclude=exclude)


@contextmanager
def small_bounds() -> Iterator[None]:
    """So small that a handful of nodes crosses them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_module, "_SLICE", 2)
        patch.setattr(index_module, "_FEW", 1)
        patch.setattr(index_module, "_KEPT_ORDERS", 2)
        yield


@given(
    wanted=specs(),
    nodes=st.lists(known_nodes(), max_size=12, unique_by=lambda n: n.node_id),
    strategy=st.sampled_from(STRATEGIES),
    exclude=st.sets(st.sampled_from(IDS), max_size=3),
    small=st.booleans(),
)
def test_best_is_the_first_candidate_of_the_plan(
    wanted: WorkloadSpec,
    nodes: list[KnownNode],
    strategy: Strategy,
    exclude: set[str],
    small: bool,
) -> None:
    if small:
        with small_bounds():
            index = NodeIndex(nodes)
            assert best(wanted, index, strategy, exclude) == first(wanted, index, strategy, exclude)
    else:
        index = NodeIndex(nodes)
        assert best(wanted, index, strategy, exclude) == first(wanted, index, strategy, exclude)


class Changes(RuleBasedStateMachine):
    """Orders kept over many changes answer as an index made anew."""

    def __init__(self) -> None:
        super().__init__()
        self.bounds = small_bounds()
        self.bounds.__enter__()
        self.index = NodeIndex()
        self.nodes: dict[str, KnownNode] = {}

    def teardown(self) -> None:
        self.bounds.__exit__(None, None, None)

    @rule(changed=st.sampled_from(IDS).flatmap(known_nodes))
    def put(self, changed: KnownNode) -> None:
        self.nodes[changed.node_id] = changed
        self.index.put(changed)

    @rule(name=st.sampled_from(IDS), room=amounts)
    def take_room(self, name: str, room: Resources) -> None:
        if (known := self.index.get(name)) is not None:
            state = replace(known.state, available=known.state.available.minus_floor(room))
            self.put(replace(known, state=state))

    @rule(name=st.sampled_from(IDS))
    def remove(self, name: str) -> None:
        self.nodes.pop(name, None)
        self.index.remove(name)

    @rule(wanted=specs(), strategy=st.sampled_from(STRATEGIES))
    def decide(self, wanted: WorkloadSpec, strategy: Strategy) -> None:
        fresh = NodeIndex(self.nodes.values())
        expected = first(wanted, fresh, strategy)
        assert best(wanted, self.index, strategy) == expected
        assert best(wanted, fresh, strategy) == expected
        assert first(wanted, self.index, strategy) == expected
        assert {one.node_id: one for one in self.index.nodes()} == self.nodes
        assert len(self.index) == len(self.nodes)


TestChanges = Changes.TestCase


def machines(count: int) -> list[KnownNode]:
    """Like those of real sites: few sizes, a few MiB apart."""
    dice = random.Random(7)
    sizes = [Resources(cores * 1_000, cores // 16, cores * 4 * GIB, 0) for cores in (8, 16, 64)]
    return [
        node(
            f"n{number:04}",
            capacity=replace(size, memory=size.memory - dice.randrange(64) * 2**20),
            hops=dice.randint(1, 3),
            labels={"zone": f"z{number % 3}", "rack": f"r{number % 200}"},
        )
        for number, size in enumerate(dice.choices(sizes, k=count))
    ]


CONSTRAINTS: list[dict[str, object]] = [
    {},
    {"labels": {"app": "web"}},
    {"affinity": [{"node_labels": {"zone": "z1"}}]},
    {"affinity": [{"node_labels": {"rack": "r7"}}]},
    {"anti_affinity": [{"workload_labels": {"app": "web"}}], "labels": {"app": "web"}},
    {"affinity": [{"workload_labels": {"app": "*"}, "required": False}]},
    {"affinity": [{"node_labels": {"zone": "z2"}, "required": False, "weight": 5}]},
]


@pytest.fixture(params=["as they are", "small"])
def bounds(request: pytest.FixtureRequest) -> Iterator[None]:
    with small_bounds() if request.param == "small" else nullcontext():
        yield


@pytest.mark.usefixtures("bounds")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_filling_a_site_takes_the_best_node_every_time(strategy: Strategy) -> None:
    dice = random.Random(strategy)
    index = NodeIndex(machines(100))
    for number in range(200):
        room = Resources(dice.randint(1, 16) * 500, 0, dice.randint(1, 16) * GIB, 0)
        wanted = spec(room, **CONSTRAINTS[number % len(CONSTRAINTS)])
        chosen = best(wanted, index, strategy)
        assert chosen == first(wanted, index, strategy)
        if chosen is None:
            continue
        known = index.get(chosen)
        assert known is not None
        labels = dict(known.state.workload_labels)
        for key, value in wanted.labels.items():
            labels[f"{key}={value}"] = labels.get(f"{key}={value}", 0) + 1
        state = replace(
            known.state,
            available=known.state.available - room,
            workloads=known.state.workloads + 1,
            workload_labels=labels,
        )
        index.put(replace(known, state=state))


def test_what_cannot_be_given_work_is_never_chosen() -> None:
    index = NodeIndex(
        [
            node("a", reachable=False),
            node("b", draining=True),
            node("c", linked=False),
            node("d", candidate=False),
            node("e", kinds=("mlmodel",)),
            node("f", available=Resources()),
        ]
    )
    wanted = spec(Resources(cpu=1_000))
    assert best(wanted, index, "default") is None
    index.put(node("f"))
    assert best(wanted, index, "default") == "f"
    assert best(wanted, index, "default", {"f"}) is None
    index.remove("f")
    index.remove("f")
    assert "f" not in index
    assert best(wanted, index, "default") is None


def test_a_node_that_claims_more_room_than_it_has_gets_no_more_than_it_has() -> None:
    boastful = node("a", capacity=Resources(cpu=1_000), available=Resources(cpu=9_000))
    assert best(spec(Resources(cpu=2_000)), NodeIndex([boastful]), "least_loaded") is None


def test_a_required_and_a_preferred_term_are_not_taken_for_the_same() -> None:
    with small_bounds():
        index = NodeIndex([node(name, labels={"zone": "x"}) for name in "bc"])
        index.put(node("a"))
        for required, expected in ((True, "b"), (False, "b")):
            term = {"node_labels": {"zone": "x"}, "required": required, "weight": 1}
            assert best(spec(affinity=[term]), index, "default") == expected
            assert best(spec(affinity=[term]), index, "default", {"b", "c"}) == (
                None if required else "a"
            )
