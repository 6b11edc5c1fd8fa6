"""Any order of events releases room exactly once per placing, and never without one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.errors import TransitionError
from cnet.model.lifecycle import (
    HOLDS_ROOM,
    TERMINAL,
    TRANSITIONS,
    WIRE_STATUSES,
    Effect,
    Event,
    Phase,
    step,
    wire_status,
)


@given(st.lists(st.sampled_from(Event), max_size=60))
def test_room_is_released_exactly_once_per_placing(events: list[Event]) -> None:
    phase, held = Phase.PENDING, 0
    for event in events:
        if (phase, event) not in TRANSITIONS:
            with pytest.raises(TransitionError):
                step(phase, event)
            continue
        phase, effects = step(phase, event)
        held += (event == Event.PLACED) - effects.count(Effect.RELEASE)
        assert held == (phase in HOLDS_ROOM)


def test_every_phase_that_is_not_terminal_can_be_stopped() -> None:
    for phase in Phase:
        stoppable = (phase, Event.STOP_ASKED) in TRANSITIONS
        assert stoppable == (phase not in TERMINAL and phase != Phase.STOPPING)


def test_terminal_phases_leave_only_when_a_user_asks() -> None:
    for phase in TERMINAL:
        assert [event for start, event in TRANSITIONS if start == phase] == [Event.RESTART_ASKED]


def test_the_wire_knows_five_words() -> None:
    assert {wire_status(phase) for phase in Phase} == set(WIRE_STATUSES)


def test_every_phase_can_reach_an_end() -> None:
    reached = set(TERMINAL)
    while True:
        more = {start for (start, _), (end, _) in TRANSITIONS.items() if end in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(Phase)
