"""Who waits is tried in order, and who cannot fit is not tried."""

from __future__ import annotations

from itertools import count

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cnet.model.resources import GIB, Resources
from cnet.scheduler import PendingQueue, shape_of
from tests.unit.scheduler.nodes import spec


def tried(queue: PendingQueue, fits: set[str]) -> list[str]:
    """One pass over all, in which the named ones find room."""
    queue.wake()
    order = []
    for name in queue.retry():
        order.append(name)
        if name in fits:
            queue.discard(name)
    return order


def test_priority_then_arrival() -> None:
    queue = PendingQueue()
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", -1), ("e", 5)):
        queue.add(name, priority, name)
    assert list(queue) == ["b", "e", "a", "c", "d"]
    assert tried(queue, {"b", "c"}) == ["b", "e", "a", "c", "d"]
    assert list(queue) == ["e", "a", "d"]
    assert len(queue) == 3
    assert "b" not in queue


def test_a_smaller_one_passes_one_that_does_not_fit() -> None:
    queue = PendingQueue()
    for name, shape in (("big-1", 9), ("small-1", 1), ("big-2", 9), ("small-2", 1)):
        queue.add(name, 0, shape)
    assert tried(queue, {"small-1"}) == ["big-1", "small-1", "small-2"]
    assert list(queue) == ["big-1", "big-2", "small-2"]


def test_a_shape_that_failed_is_passed_over_at_lower_priorities() -> None:
    queue = PendingQueue()
    queue.add("later", 0, "x")
    queue.add("first", 1, "x")
    assert tried(queue, set()) == ["first"]
    assert tried(queue, {"first"}) == ["first", "later"]


def test_who_comes_back_keeps_its_place() -> None:
    queue = PendingQueue()
    queue.add("a", 0, "x")
    queue.add("b", 0, "x")
    queue.add("a", 0, "x")
    queue.discard("a")
    queue.discard("a")
    queue.add("a", 0, "x")
    assert list(queue) == ["a", "b"]
    queue.discard("a")
    queue.forget("a")
    queue.add("a", 0, "x")
    assert list(queue) == ["b", "a"]
    assert tried(queue, {"a", "b"}) == ["b", "a"]
    assert not len(queue)


def test_changes_during_a_pass() -> None:
    queue = PendingQueue()
    for name in "abc":
        queue.add(name, 0, "x")
    queue.add("low", -1, "x")
    queue.add("other", 0, "y")
    order = []
    for name in queue.retry():
        order.append(name)
        if name == "a":
            queue.discard("a")
            queue.discard("b")
            queue.add("new", 3, "z")
        if name == "c":
            queue.discard("c")
            queue.discard("other")
    assert order == ["a", "c", "low"]
    assert list(queue) == ["new", "low"]


def test_a_hundred_thousand_of_one_shape_cost_one_attempt() -> None:
    queue = PendingQueue()
    for number in range(100_000):
        queue.add(f"w{number}", 0, number % 3)
    assert tried(queue, set()) == ["w0", "w1", "w2"]
    assert tried(queue, {"w0"}) == ["w0", "w1", "w2", "w3"]


@given(
    fits=st.sets(st.integers(0, 19)),
    rows=st.lists(st.tuples(st.integers(-1, 1), st.integers(0, 3)), max_size=20),
)
def test_a_pass_is_a_walk_in_order_that_skips_failed_shapes(
    fits: set[int], rows: list[tuple[int, int]]
) -> None:
    queue = PendingQueue()
    shapes = {}
    for number, (priority, shape) in enumerate(rows):
        queue.add(f"w{number}", priority, shape)
        shapes[f"w{number}"] = shape
    lucky = {f"w{number}" for number in fits}
    expected, failed = [], set()
    for name in list(queue):
        if shapes[name] not in failed:
            expected.append(name)
            if name not in lucky:
                failed.add(shapes[name])
    assert tried(queue, lucky) == expected


class Comings(RuleBasedStateMachine):
    """The order holds whoever comes, goes and comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = PendingQueue()
        self.waiting: dict[str, tuple[int, int]] = {}
        self.left: dict[str, int] = {}
        self.numbers = count()

    @rule(name=st.sampled_from("abcdef"), priority=st.integers(0, 1))
    def add(self, name: str, priority: int) -> None:
        self.queue.add(name, priority, "x")
        if name not in self.waiting:
            self.waiting[name] = (-priority, self.left.pop(name, next(self.numbers)))

    @rule(name=st.sampled_from("abcdef"))
    def discard(self, name: str) -> None:
        self.queue.discard(name)
        if name in self.waiting:
            self.left[name] = self.waiting.pop(name)[1]

    @rule(name=st.sampled_from("abcdef"))
    def forget(self, name: str) -> None:
        self.queue.forget(name)
        self.left.pop(name, None)

    @invariant()
    def in_order(self) -> None:
        expected = sorted(self.waiting, key=lambda name: self.waiting[name])
        assert list(self.queue) == expected
        assert tried(self.queue, set()) == expected[:1]


TestComings = Comings.TestCase


def test_what_is_discarded_from_the_middle_does_not_pile_up() -> None:
    queue = PendingQueue()
    for number in range(1_000):
        queue.add(f"w{number}", 0, "x")
    for number in range(1, 999):
        queue.discard(f"w{number}")
    assert tried(queue, {"w0", "w999"}) == ["w0", "w999"]


def test_shapes_are_equal_for_what_fits_into_the_same_nodes() -> None:
    room = Resources(cpu=500, memory=GIB)
    near = {"affinity": [{"node_labels": {"a": "1", "b": "2"}}]}
    far = {"anti_affinity": [{"node_labels": {"a": "1", "b": "2"}}]}
    liked = {"affinity": [{"node_labels": {"a": "1"}, "required": False}]}
    plain = shape_of(spec(room))
    assert shape_of(spec(room, labels={"x": "y"}, strategy="spread", priority=3)) == plain
    assert shape_of(spec(room, **liked)) == plain
    swapped = {"affinity": [{"node_labels": {"b": "2", "a": "1"}}]}
    assert shape_of(spec(room, **near)) == shape_of(spec(room, **swapped))
    different = [
        plain,
        shape_of(spec(room, **near)),
        shape_of(spec(room, **far)),
        shape_of(spec(room, node="n1")),
        shape_of(spec(room, "mlmodel")),
        shape_of(spec(room + room)),
    ]
    assert len(set(different)) == len(different)


def test_who_found_no_room_is_not_tried_again_before_something_is_new() -> None:
    queue = PendingQueue()
    for name, shape in (("big", 9), ("small", 1), ("big too", 9)):
        queue.add(name, 0, shape)
    assert list(queue.retry()) == ["big", "small"]
    queue.add("big as well", 0, 9)
    assert list(queue.retry()) == []
    queue.wake(lambda name: name == "small")
    assert list(queue.retry()) == ["small"]
    queue.wake_one("big too")
    queue.wake_one("nobody")
    assert list(queue.retry()) == ["big"]
    assert list(queue.retry()) == []


def test_own_reasons_hold_up_nobody_else() -> None:
    queue = PendingQueue()
    for name in ("a", "b", "c", "d"):
        queue.add(name, 0, "x")
    queue.discard("c")
    assert list(queue.retry(lambda name: name in "ab")) == ["a", "b", "d"]
    queue.discard("d")
    queue.wake()
    assert list(queue.retry(lambda name: name in "ab")) == ["a", "b"]
    queue.add("e", 0, "x")  # nobody has shown that it would find no room
    assert list(queue.retry(lambda name: name in "ab")) == ["a", "b", "e"]
    queue.add("f", 0, "x")
    assert list(queue.retry()) == []


def test_a_pass_that_breaks_off_is_taken_up_again() -> None:
    queue = PendingQueue()
    for name in ("a", "b", "c"):
        queue.add(name, 0, name)
    for name in queue.retry():
        if name == "b":
            break
    assert list(queue.retry()) == ["b", "c"]
