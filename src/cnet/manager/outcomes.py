"""From how a run ended to what that means for its workload. Pure."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from cnet.model.lifecycle import Event, Phase
from cnet.model.workload import RestartPolicy, WorkloadStatus
from cnet.supervision import RunExit

MAX_BACKOFF_S = 30.0

_LOST = {
    "supervisor_lost": "its supervising process was killed; what was left of the run was ended",
    "node_rebooted": "the machine was restarted while it ran",
    "engine_restarted": "the container engine ended, and so did it",
}
_NOT_ITS_FAULT = frozenset({"node_rebooted", "engine_restarted"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended, in the words of the wire."""

    well: bool
    reason: str | None
    detail: str | None
    exit_code: int | None
    exit_signal: str | None
    counts_as_crash: bool = True
    """whether a restart after it uses up one of the policy's attempts"""
    final: bool = False
    """another try cannot help"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why the agent itself ended a run."""

    reason: str
    detail: str


def judge(ended: RunExit, *, service: bool, verdict: Verdict | None = None) -> Outcome:
    """What the end of a run means; a service that ends unasked never did well."""
    name = signal.Signals(ended.signal).name if ended.signal is not None else None
    code = -1 if ended.signal is not None else ended.exit_code
    if verdict is not None:
        return Outcome(
            well=False,
            reason=verdict.reason,
            detail=verdict.detail,
            exit_code=code,
            exit_signal=name,
        )
    if ended.lost:
        reason = ended.reason or "supervisor_lost"
        return Outcome(
            well=False,
            reason=reason,
            detail=ended.details or _LOST.get(reason),
            exit_code=code,
            exit_signal=name,
            counts_as_crash=reason not in _NOT_ITS_FAULT,
        )
    if ended.reason is not None:
        return Outcome(
            well=False,
            reason=ended.reason,
            detail=ended.details,
            exit_code=code,
            exit_signal=name,
            final=ended.reason in {"exec_failed", "lease_expired"},
        )
    well = code == 0 and not service
    if ended.oom_killed:
        detail = "killed for exceeding its memory limit"
        if code == 0:
            detail = "a process of it was " + detail
        return Outcome(
            well=well, reason="out_of_memory", detail=detail, exit_code=code, exit_signal=name
        )
    if name is not None:
        detail = f"ended by signal {name}"
        return Outcome(
            well=False, reason="signalled", detail=detail, exit_code=code, exit_signal=name
        )
    if well:
        return Outcome(well=True, reason=None, detail=None, exit_code=code, exit_signal=None)
    reason = "exit_nonzero" if code else "exited"
    return Outcome(
        well=False, reason=reason, detail=f"exited with {code}", exit_code=code, exit_signal=None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """What to do after a run has ended."""

    event: Event
    pause_s: float = 0.0
    restarted_at: tuple[float, ...] = ()
    gave_up: bool = False
    """the policy would have restarted it, but its attempts are used up"""


def after(
    outcome: Outcome, status: WorkloadStatus, policy: RestartPolicy, *, service: bool, now: float
) -> NextStep:
    """The lifecycle event that follows an unasked end, and the pause before a restart in seconds.

    A service that has never been ready is not restarted: whoever submitted it gets the reason at
    once. `now` is Unix seconds.
    """
    if status.phase == Phase.STOPPING:
        wanted_again = status.desired == "running"
        return NextStep(event=Event.GONE_AGAIN if wanted_again else Event.GONE)
    ended = Event.EXITED_WELL if outcome.well else Event.EXITED_BADLY
    restarts = policy.policy == "always" or (policy.policy == "on_failure" and not outcome.well)
    never_ready = service and status.started_at is None and outcome.counts_as_crash
    if not restarts or never_ready or outcome.final:
        return NextStep(event=ended)
    recent = tuple(at for at in status.restarted_at if at > now - policy.window_s)
    if not outcome.counts_as_crash:
        return NextStep(event=Event.EXITED_AGAIN, restarted_at=recent)
    if len(recent) >= policy.attempts:
        return NextStep(event=ended, gave_up=True)
    pause = min(policy.backoff_s * 2 ** len(recent), MAX_BACKOFF_S) if policy.backoff_s else 0.0
    return NextStep(event=Event.EXITED_AGAIN, pause_s=pause, restarted_at=(*recent, now))
