"""How ends are judged and followed up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.manager.outcomes import MAX_BACKOFF_S, Verdict, after, judge
from cnet.model.lifecycle import TRANSITIONS, Event, Phase
from cnet.model.workload import RestartPolicy, WorkloadStatus
from cnet.supervision import RunExit


def ended(**changes: Any) -> RunExit:
    values: dict[str, Any] = {
        "exit_code": 0,
        "signal": None,
        "oom_killed": False,
        "stopped": False,
        "lost": False,
        "reason": None,
        "details": None,
        "started_at": 1.0,
        "ended_at": 2.0,
    }
    return RunExit(**{**values, **changes})


@pytest.mark.parametrize(
    ("run_exit", "service", "reason", "code"),
    [
        (ended(), False, None, 0),
        (ended(), True, "exited", 0),
        (ended(exit_code=7), False, "exit_nonzero", 7),
        (ended(exit_code=None, signal=11), False, "signalled", -1),
        (ended(exit_code=None, signal=9, oom_killed=True), False, "out_of_memory", -1),
        (ended(oom_killed=True), False, "out_of_memory", 0),
        (ended(exit_code=None, reason="exec_failed", details="no"), False, "exec_failed", None),
        (ended(exit_code=None, lost=True), False, "supervisor_lost", None),
        (
            ended(exit_code=None, lost=True, reason="node_rebooted"),
            False,
            "node_rebooted",
            None,
        ),
    ],
)
def test_reasons(run_exit: RunExit, service: bool, reason: str | None, code: int | None) -> None:
    outcome = judge(run_exit, service=service)
    assert (outcome.reason, outcome.exit_code) == (reason, code)
    assert outcome.well == (run_exit.exit_code == 0 and not service)


def test_a_verdict_outweighs_the_signal_that_carried_it_out() -> None:
    outcome = judge(
        ended(exit_code=None, signal=9), service=True, verdict=Verdict("unhealthy", "3 probes")
    )
    assert (outcome.reason, outcome.exit_signal) == ("unhealthy", "SIGKILL")


def test_restarts_pause_longer_each_time_and_then_give_up() -> None:
    policy = RestartPolicy(policy="on_failure", attempts=3, backoff_s=1)
    status = WorkloadStatus(phase=Phase.RUNNING, started_at=1.0)
    bad = judge(ended(exit_code=1), service=False)
    pauses = []
    for number in range(3):
        follow = after(bad, status, policy, service=False, now=100.0 + number)
        assert follow.event == Event.EXITED_AGAIN
        pauses.append(follow.pause_s)
        status = WorkloadStatus(
            phase=Phase.RUNNING, started_at=1.0, restarted_at=follow.restarted_at
        )
    assert pauses == [1, 2, 4]
    last = after(bad, status, policy, service=False, now=104.0)
    assert (last.event, last.gave_up) == (Event.EXITED_BADLY, True)
    later = after(bad, status, policy, service=False, now=104.0 + policy.window_s)
    assert (later.event, later.pause_s) == (Event.EXITED_AGAIN, 1), "the window has passed"


def test_a_service_that_was_never_ready_is_not_tried_again() -> None:
    policy = RestartPolicy(policy="on_failure")
    bad = judge(ended(exit_code=2), service=True)
    status = WorkloadStatus(phase=Phase.STARTING)
    assert after(bad, status, policy, service=True, now=0.0).event == Event.EXITED_BADLY
    ready_once = WorkloadStatus(phase=Phase.STARTING, started_at=1.0)
    assert after(bad, ready_once, policy, service=True, now=0.0).event == Event.EXITED_AGAIN


@pytest.mark.parametrize("reason", ["node_rebooted", "engine_restarted"])
def test_the_fault_of_others_uses_up_no_attempt(reason: str) -> None:
    policy = RestartPolicy(policy="on_failure", attempts=1)
    status = WorkloadStatus(phase=Phase.RUNNING, started_at=1.0, restarted_at=(99.0,))
    lost = judge(ended(exit_code=None, lost=True, reason=reason), service=True)
    follow = after(lost, status, policy, service=True, now=100.0)
    assert (follow.event, follow.restarted_at, follow.pause_s) == (
        Event.EXITED_AGAIN,
        (99.0,),
        0.0,
    )


exits = st.builds(
    ended,
    exit_code=st.one_of(st.none(), st.integers(0, 255)),
    signal=st.sampled_from([None, 9, 11, 15]),
    oom_killed=st.booleans(),
    lost=st.booleans(),
    reason=st.sampled_from([None, "exec_failed", "node_rebooted", "supervisor_lost"]),
)


@given(
    run_exit=exits,
    phase=st.sampled_from([Phase.STARTING, Phase.RUNNING, Phase.STOPPING]),
    desired=st.sampled_from(["running", "stopped", "deleted"]),
    policy=st.builds(
        RestartPolicy,
        policy=st.sampled_from(["never", "on_failure", "always"]),
        attempts=st.integers(0, 5),
        backoff_s=st.floats(0, 100),
    ),
    service=st.booleans(),
    restarted=st.lists(st.floats(0, 1000), max_size=8),
)
def test_every_end_is_followed_by_a_step_the_table_has(
    run_exit: RunExit,
    phase: Phase,
    desired: Any,
    policy: RestartPolicy,
    service: bool,
    restarted: list[float],
) -> None:
    status = WorkloadStatus(
        phase=phase, desired=desired, restarted_at=tuple(restarted), started_at=1.0
    )
    follow = after(judge(run_exit, service=service), status, policy, service=service, now=1000.0)
    assert (phase, follow.event) in TRANSITIONS
    assert 0 <= follow.pause_s <= max(MAX_BACKOFF_S, 0)
    if phase == Phase.STOPPING:
        assert follow.event == (Event.GONE_AGAIN if desired == "running" else Event.GONE)
