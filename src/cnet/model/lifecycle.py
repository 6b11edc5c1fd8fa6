"""The life of a workload as one table: (phase, event) → (phase, effects).

The table does nothing itself; whoever steps it owes the returned effects. Every phase change of the
system is an entry here, so a stop during a start or an exit during a stop is a row, not a lock.
Wire words are the five of the seeds; what more there is to say is a status reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from cnet.errors import TransitionError


class Phase(StrEnum):
    """Where a workload stands."""

    PENDING = "pending"  # accepted and durable; holds no room
    STARTING = "starting"  # holds room; being started, or started and not yet ready
    RUNNING = "running"  # holds room; runs, and is ready where it serves
    BACKOFF = "backoff"  # holds room; ended, and will be started again after a pause
    STOPPING = "stopping"  # holds room; asked to end, not yet gone
    COMPLETED = "completed"  # ended by itself and well; holds nothing
    FAILED = "failed"  # ended badly, or never became ready; holds nothing
    STOPPED = "stopped"  # ended because somebody asked; holds nothing


class Event(StrEnum):
    """What happens to a workload."""

    PLACED = "placed"  # room was reserved for it here
    READY = "ready"  # started, and ready where it serves
    EXITED_WELL = "exited_well"  # ended with 0, and is not to be started again
    EXITED_BADLY = "exited_badly"  # ended otherwise or could not start; no further try
    EXITED_AGAIN = "exited_again"  # ended, and its restart policy allows another try
    BACKOFF_OVER = "backoff_over"  # the pause before the next try is over
    STOP_ASKED = "stop_asked"  # a user wants it ended
    RESTART_ASKED = "restart_asked"  # a user wants an ended one started again
    GONE = "gone"  # the asked-for end has come about
    GONE_AGAIN = "gone_again"  # the same, and a user wants it started again


class Effect(StrEnum):
    """What a step owes."""

    START = "start"
    STOP = "stop"
    RELEASE = "release"
    ENQUEUE = "enqueue"


TRANSITIONS: Mapping[tuple[Phase, Event], tuple[Phase, tuple[Effect, ...]]] = {
    (Phase.PENDING, Event.PLACED): (Phase.STARTING, (Effect.START,)),
    (Phase.PENDING, Event.EXITED_BADLY): (Phase.FAILED, ()),  # what it needs is gone
    (Phase.PENDING, Event.STOP_ASKED): (Phase.STOPPED, ()),
    (Phase.STARTING, Event.READY): (Phase.RUNNING, ()),
    (Phase.STARTING, Event.EXITED_WELL): (Phase.COMPLETED, (Effect.RELEASE,)),
    (Phase.STARTING, Event.EXITED_BADLY): (Phase.FAILED, (Effect.RELEASE,)),
    (Phase.STARTING, Event.EXITED_AGAIN): (Phase.BACKOFF, ()),
    (Phase.STARTING, Event.STOP_ASKED): (Phase.STOPPING, (Effect.STOP,)),
    (Phase.RUNNING, Event.EXITED_WELL): (Phase.COMPLETED, (Effect.RELEASE,)),
    (Phase.RUNNING, Event.EXITED_BADLY): (Phase.FAILED, (Effect.RELEASE,)),
    (Phase.RUNNING, Event.EXITED_AGAIN): (Phase.BACKOFF, ()),
    (Phase.RUNNING, Event.STOP_ASKED): (Phase.STOPPING, (Effect.STOP,)),
    (Phase.BACKOFF, Event.BACKOFF_OVER): (Phase.STARTING, (Effect.START,)),
    (Phase.BACKOFF, Event.STOP_ASKED): (Phase.STOPPED, (Effect.RELEASE,)),
    (Phase.STOPPING, Event.GONE): (Phase.STOPPED, (Effect.RELEASE,)),
    (Phase.STOPPING, Event.GONE_AGAIN): (Phase.PENDING, (Effect.RELEASE, Effect.ENQUEUE)),
    (Phase.COMPLETED, Event.RESTART_ASKED): (Phase.PENDING, (Effect.ENQUEUE,)),
    (Phase.FAILED, Event.RESTART_ASKED): (Phase.PENDING, (Effect.ENQUEUE,)),
    (Phase.STOPPED, Event.RESTART_ASKED): (Phase.PENDING, (Effect.ENQUEUE,)),
}

TERMINAL = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.STOPPED})
HOLDS_ROOM = frozenset({Phase.STARTING, Phase.RUNNING, Phase.BACKOFF, Phase.STOPPING})
PREEMPTIBLE = frozenset({Phase.STARTING, Phase.RUNNING})
"""Where an asked-for end leads back to the queue; out of a backoff it leads to `stopped`."""

_WIRE = {
    Phase.STARTING: "pending",
    Phase.BACKOFF: "pending",
    Phase.STOPPING: "running",
}
WIRE_STATUSES = ("pending", "running", "completed", "failed", "stopped")


def wire_status(phase: Phase) -> str:
    """The one of the five wire words that a phase shows as."""
    return _WIRE.get(phase, phase.value)


def step(phase: Phase, event: Event) -> tuple[Phase, tuple[Effect, ...]]:
    """The next phase and the effects owed to it.

    Raises TransitionError when the table has no entry for this phase and event.
    """
    try:
        return TRANSITIONS[phase, event]
    except KeyError:
        raise TransitionError(f"{event} is not possible in phase {phase}") from None
