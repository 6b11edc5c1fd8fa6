"""Which replica gets a request: shares are exact, the rest goes by what is outstanding."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from cnet.api.services import Routed, Share
from cnet.api.services.choosing import AVOID_S, Choosing, SmoothWeights
from cnet.api.services.replicas import Outstanding
from tests.api.upstreams import Place


def routed(*shares: tuple[str, int | None, int]) -> Routed:
    """Versions with a weight and a number of ready replicas each."""
    return Routed(
        name="m",
        owner="here",
        retry=True,
        hold_s=0,
        shares=[
            Share(version, weight, [Place(f"{version}-{n}", "http://x") for n in range(count)])
            for version, weight, count in shares
        ],
    )


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(any), st.integers(0, 300))
def test_any_run_of_turns_is_shared_as_the_weights_say(weights: list[int], begin: int) -> None:
    named = [(str(n), weight) for n, weight in enumerate(weights)]
    turns = SmoothWeights()
    for _ in range(begin):
        turns.next(named)
    total = sum(weights)
    counts = Counter(turns.next(named) for _ in range(total))
    assert all(abs(counts[name] - weight) <= 1 for name, weight in named)


def test_a_tenth_goes_to_the_canary() -> None:
    choosing = Choosing(Outstanding())
    service = routed(("v1", 9000, 3), ("v2", 1000, 1))
    picked = [choosing.pick(service, (), 0.0) for _ in range(1000)]
    assert Counter(one.workload_id[:2] for one in picked if one) == {"v1": 900, "v2": 100}


def test_the_share_of_a_version_without_a_replica_goes_to_the_others() -> None:
    choosing = Choosing(Outstanding())
    service = routed(("v1", 50, 1), ("v2", 50, 0))
    picked = {choosing.pick(service, (), 0.0) for _ in range(10)}
    assert {one.workload_id for one in picked if one} == {"v1-0"}
    assert choosing.pick(routed(("v1", 1, 0)), (), 0.0) is None
    zero = choosing.pick(routed(("v1", 100, 0), ("v2", 0, 1)), (), 0.0)
    assert zero is not None and zero.workload_id == "v2-0"


def test_during_an_update_all_replicas_are_one_pool() -> None:
    outstanding = Outstanding()
    choosing = Choosing(outstanding)
    service = routed(("v1", None, 3), ("v2", None, 1))
    with ExitStack() as under_way:
        for _ in range(4):
            picked = choosing.pick(service, (), 0.0)
            assert picked is not None
            under_way.enter_context(outstanding.one(picked.workload_id))
        assert outstanding.counts == {"v1-0": 1, "v1-1": 1, "v1-2": 1, "v2-0": 1}


def test_one_that_gave_no_answer_is_passed_over_while_there_are_others() -> None:
    choosing = Choosing(Outstanding())
    service = routed(("v1", 1, 2))
    first = choosing.pick(service, (), 0.0)
    assert first is not None
    choosing.avoid(first, 0.0)
    for _ in range(20):
        other = choosing.pick(service, (), AVOID_S / 2)
        assert other is not None and other != first
    assert {choosing.pick(service, (), AVOID_S * 2) for _ in range(60)} == {first, other}
    alone = routed(("v1", 1, 1))
    only = choosing.pick(alone, (), 0.0)
    assert only is not None
    choosing.avoid(only, 0.0)
    assert choosing.pick(alone, (), 0.0) == only


def test_after_a_failure_another_version_is_better_than_none() -> None:
    choosing = Choosing(Outstanding())
    service = routed(("v1", 100, 1), ("v2", 0, 1))
    again = choosing.pick(service, {"v1-0"}, 0.0)
    assert again is not None and again.workload_id == "v2-0"
