"""The ledger is exact: any order of reserve, commit, release and adopt keeps its books true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from cnet.errors import CapacityError, ConflictError
from cnet.model.resources import GIB, Resources, millicores
from cnet.register import Ledger

CAPACITY = Resources(cpu=4_000, gpu=3, memory=8 * GIB, storage=100 * GIB)

wanted = st.builds(
    Resources,
    cpu=st.integers(0, 5_000),
    gpu=st.integers(0, 4),
    memory=st.integers(0, 9 * GIB),
    storage=st.integers(0, 110 * GIB),
)


class LedgerMachine(RuleBasedStateMachine):
    """Compares the ledger with a plain dictionary of what should be held."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(CAPACITY)
        self.model: dict[str, Resources] = {}
        self.number = 0

    @rule(target=held, resources=wanted)
    def reserve(self, resources: Resources) -> str:
        self.number += 1
        name = f"w{self.number}"
        before = self.ledger.allocated
        if resources.fits(self.ledger.available):
            allocation = self.ledger.reserve(name, resources)
            assert len(set(allocation.gpu_devices)) == resources.gpu
            self.model[name] = resources
        else:
            with pytest.raises(CapacityError) as refusal:
                self.ledger.reserve(name, resources)
            assert refusal.value.reasons
            assert self.ledger.allocated == before
        return name

    @rule(name=held)
    def reserve_again(self, name: str) -> None:
        if name in self.model:
            with pytest.raises(ConflictError):
                self.ledger.reserve(name, Resources())

    @rule(name=held)
    def commit(self, name: str) -> None:
        if name in self.model:
            assert self.ledger.commit(name).committed
        else:
            with pytest.raises(ConflictError):
                self.ledger.commit(name)

    @rule(name=consumes(held))
    def release_twice(self, name: str) -> None:
        first = self.ledger.release(name)
        assert (first is not None) == (name in self.model)
        self.model.pop(name, None)
        after = self.ledger.allocated
        assert self.ledger.release(name) is None
        assert self.ledger.allocated == after

    @invariant()
    def books_are_true(self) -> None:
        total = sum(self.model.values(), Resources())
        assert self.ledger.allocated == total
        assert total.fits(CAPACITY), "over-committed"
        assert self.ledger.available + total == CAPACITY
        devices = [
            device
            for name in self.model
            if (allocation := self.ledger.allocation(name)) is not None
            for device in allocation.gpu_devices
        ]
        assert len(devices) == len(set(devices)), "a GPU given twice"
        assert sorted([*devices, *self.ledger.free_devices()]) == [0, 1, 2]


TestLedger = LedgerMachine.TestCase


def test_adopting_more_than_the_capacity_places_nothing_more_until_it_fits() -> None:
    ledger = Ledger(Resources(cpu=1_000))
    ledger.adopt("big", Resources(cpu=3_000), ())
    assert ledger.available == Resources()
    with pytest.raises(CapacityError, match=r"cpu 0\.5 cores short"):
        ledger.reserve("small", Resources(cpu=500))
    ledger.release("big")
    ledger.reserve("small", Resources(cpu=500))


def test_devices_must_match_the_capacity() -> None:
    with pytest.raises(ValueError, match="GPUs"):
        Ledger(Resources(gpu=2), gpu_devices=[0, 0])


@given(st.integers(0, 1_000_000_000))
def test_whole_millicores_survive_the_wire(amount: int) -> None:
    assert millicores(amount / 1000) == amount


@given(st.floats(0, 1_000_000, allow_nan=False))
def test_millicores_never_hold_less_than_asked(cores: float) -> None:
    assert millicores(cores) >= cores * 1000 - 1e-6 * max(1, cores)


@given(wanted, wanted)
def test_shortfalls_name_exactly_what_does_not_fit(ask: Resources, room: Resources) -> None:
    short = {line.split()[0] for line in ask.shortfalls(room)}
    expected = {
        name
        for name in ("cpu", "gpu", "memory", "storage")
        if getattr(ask, name) > getattr(room, name)
    }
    assert short == expected
    assert ask.fits(room) == (not short)
