"""Scaling by load: the rules by example, and bounds over any load."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cnet.services.autoscaling import FALL_EVERY_S, LEAST_RISE, RISE_EVERY_S, Damping, Load, follow
from cnet.services.record import Autoscale


def busy(under_way: float) -> Load:
    return Load(under_way=under_way, any_requests=under_way > 0)


class Run:
    """A load over time, every 2 s."""

    def __init__(self, policy: Autoscale, current: int) -> None:
        self.policy = policy
        self.count = current
        self.now = 100.0
        self.damping = Damping.starting(current, self.now)
        self.counts: list[int] = []

    def feel(self, load: Load, seconds: float) -> list[int]:
        """The distinct counts that follow, in order."""
        until = self.now + seconds
        seen = [self.count]
        while self.now < until:
            self.now += 2.0
            self.count, self.damping = follow(
                self.policy, self.count, load, self.damping, now=self.now
            )
            if self.count != seen[-1]:
                seen.append(self.count)
        return seen[1:]


def test_a_rise_is_followed_at_once_and_in_steps() -> None:
    run = Run(Autoscale(max=20, target=4), 1)
    assert run.feel(busy(72), 2) == [1 + LEAST_RISE]
    assert run.feel(busy(72), RISE_EVERY_S - 2) == []
    assert run.feel(busy(72), 20) == [10, 18]


def test_a_fall_waits_for_the_time_of_stabilization_and_goes_by_halves() -> None:
    run = Run(Autoscale(max=20, target=4, stabilization_s=60), 16)
    run.feel(busy(64), 10)
    assert run.feel(busy(4), 58) == []
    assert run.feel(busy(4), 4) == [8]
    assert run.feel(busy(4), FALL_EVERY_S * 4) == [4, 2, 1]


def test_a_short_fall_is_not_followed() -> None:
    run = Run(Autoscale(max=20, target=4), 5)
    for _ in range(10):
        assert run.feel(busy(20), 20) == [] == run.feel(busy(1), 40)


def test_within_a_tenth_of_the_target_nothing_changes() -> None:
    run = Run(Autoscale(max=20, target=4), 5)
    assert run.feel(busy(21.9), 600) == [] == run.feel(busy(18.1), 600)
    assert run.feel(busy(22.1), 2) == [6]


def test_none_without_requests_and_one_as_soon_as_one_waits() -> None:
    run = Run(Autoscale(min=0, max=5, idle_s=100), 2)
    assert run.feel(Load(0, any_requests=False), 98) == [1]
    assert run.feel(Load(0, any_requests=False), 4) == [0]
    assert run.feel(Load(0, any_requests=False), 500) == []
    assert run.feel(Load(0, any_requests=True), 2) == [1]
    assert run.feel(Load(0, any_requests=True), 500) == []


@given(
    least=st.integers(0, 5),
    more=st.integers(0, 20),
    target=st.floats(0.1, 100),
    current=st.integers(0, 30),
    loads=st.lists(st.tuples(st.floats(0, 1e6), st.floats(0.1, 100)), max_size=60),
)
def test_the_number_stays_within_its_bounds_and_steps(
    least: int, more: int, target: float, current: int, loads: list[tuple[float, float]]
) -> None:
    policy = Autoscale(min=least, max=max(1, least + more), target=target)
    now, damping = 0.0, Damping.starting(current, 0.0)
    for under_way, pause in loads:
        now += pause
        before = current
        current, damping = follow(policy, current, busy(under_way), damping, now=now)
        assert policy.min <= current <= policy.max
        assert current >= 1 or not under_way
        bounded = max(before, policy.min)
        assert current <= max(2 * bounded, bounded + LEAST_RISE)
        assert len(damping.asked) <= len(loads) + 1


@given(under_way=st.floats(0.5, 400), current=st.integers(1, 100))
def test_a_steady_load_comes_to_rest_at_what_it_needs(under_way: float, current: int) -> None:
    run = Run(Autoscale(max=100, target=4), current)
    run.feel(busy(under_way), 600)
    assert run.feel(busy(under_way), 200) == []
    assert under_way / run.count <= 4 * 1.1 + 1e-9
    assert run.count == 1 or under_way / (run.count - 1) > 4 * 0.9 - 1e-9
