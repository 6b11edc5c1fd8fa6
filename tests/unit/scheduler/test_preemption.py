"""Lower priorities make room, as few of them as will do."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from cnet.model.node import KnownNode
from cnet.model.resources import GIB, Resources
from cnet.model.workload import WorkloadSpec
from cnet.scheduler import CHECKS, NodeIndex, node_to_preempt, plan, victims
from tests.unit.scheduler.nodes import CAPACITY, amounts, known_nodes, node, spec, specs

FOUR = Resources(cpu=4_000)
TWO = Resources(cpu=2_000)


def total(parts: list[Resources]) -> Resources:
    return sum(parts, Resources())


@given(
    wanted=amounts,
    free=amounts,
    held=st.lists(st.tuples(st.integers(-2, 2), amounts, st.integers(0, 3)), max_size=6),
    priority=st.integers(-2, 3),
)
def test_victims_suffice_and_none_is_spare(
    wanted: Resources,
    free: Resources,
    held: list[tuple[int, Resources, int]],
    priority: int,
) -> None:
    running = {
        f"w{number}": (rank, room, float(started))
        for number, (rank, room, started) in enumerate(held)
    }
    chosen = victims(wanted, free, ((name, *one) for name, one in running.items()), priority)
    lower = {name: one for name, one in running.items() if one[0] < priority}
    if chosen is None:
        assert not wanted.fits(total([free, *(room for _, room, _ in lower.values())]))
        return
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= lower.keys()
    assert wanted.fits(total([free, *(lower[name][1] for name in chosen)]))
    for fewer in range(len(chosen)):
        for some in combinations(chosen, fewer):
            assert not wanted.fits(total([free, *(lower[name][1] for name in some)]))
    if chosen:
        highest = max(lower[name][0] for name in chosen)
        below = [room for rank, room, _ in lower.values() if rank < highest]
        assert not wanted.fits(total([free, *below]))


def test_the_lowest_go_first_then_the_youngest() -> None:
    running = [
        ("old", 0, TWO, 1.0),
        ("young", 0, TWO, 9.0),
        ("low", -5, TWO, 0.0),
        ("high", 7, FOUR, 9.0),
    ]
    assert victims(TWO, Resources(), running, 1) == ("low",)
    assert victims(FOUR, Resources(), running, 1) == ("low", "young")
    assert victims(TWO + FOUR, Resources(), running, 1) == ("low", "young", "old")
    assert victims(TWO + FOUR, Resources(cpu=1), running, 0) is None
    assert victims(TWO, TWO, running, 1) == ()


def test_who_frees_nothing_that_is_needed_is_spared() -> None:
    running = [
        ("no-gpu", -9, Resources(cpu=8_000, memory=GIB), 0.0),
        ("gpu", 0, Resources(cpu=1_000, gpu=1), 0.0),
    ]
    assert victims(Resources(gpu=1), FOUR, running, 1) == ("gpu",)


def test_of_two_that_would_do_the_higher_is_spared() -> None:
    running = [
        ("a", -2, TWO, 0.0),
        ("b", -1, TWO, 0.0),
        ("c", 0, Resources(cpu=2_000, gpu=1), 0.0),
    ]
    assert victims(Resources(cpu=4_000, gpu=1), Resources(), running, 1) == ("a", "c")


def test_the_node_where_the_least_is_disturbed() -> None:
    full = {"available": Resources()}
    index = NodeIndex(
        [
            node("high", preemptible=((2, CAPACITY),), **full),
            node("low", preemptible=((0, CAPACITY), (1, CAPACITY)), **full),
            node("mixed", preemptible=((-1, TWO), (1, FOUR)), **full),
            node("nearly", preemptible=((0, CAPACITY),), available=TWO),
            node("draining", preemptible=((-9, CAPACITY),), draining=True, **full),
            node("none", **full),
        ]
    )

    def chosen(wanted: WorkloadSpec, exclude: tuple[str, ...] = ()) -> str | None:
        room = wanted.requirements.to_resources()
        return node_to_preempt(wanted, room, index, now=0.0, exclude=exclude)

    assert chosen(spec(FOUR, priority=3)) == "nearly"
    assert chosen(spec(FOUR, priority=3), ("nearly",)) == "low"
    assert chosen(spec(FOUR, priority=3), ("nearly", "low")) == "mixed"
    assert chosen(spec(FOUR, priority=2), ("nearly", "low", "mixed")) is None
    assert chosen(spec(FOUR, priority=0)) is None
    assert chosen(spec(FOUR, priority=3, node="high")) == "high"
    index.remove("nearly")
    assert chosen(spec(FOUR, priority=3)) == "low"


@given(wanted=specs(), nodes=st.lists(known_nodes(), max_size=6, unique_by=lambda n: n.node_id))
def test_a_plan_preempts_only_where_nothing_fits_and_room_alone_is_short(
    wanted: WorkloadSpec, nodes: list[KnownNode]
) -> None:
    made = plan(wanted, NodeIndex(nodes), strategy="default", now=0.0)
    if made.preempt is None:
        return
    assert not made.candidates
    chosen = next(one for one in nodes if one.node_id == made.preempt)
    room = wanted.requirements.to_resources()
    freed = total([held for rank, held in chosen.state.preemptible if rank < wanted.priority])
    assert room.fits(chosen.state.available + freed)
    failed = [check for check in CHECKS if check(wanted, room, chosen, 0.0) is not None]
    assert [check.__name__ for check in failed] == ["room_suffices"]
