"""An agent's way to the disk: what is asked for during a commit waits for the next one."""

from __future__ import annotations

from collections.abc import Callable

from cnet.simulator.machine import Machine, Record
from cnet.simulator.timeline import Timeline
from cnet.simulator.witness import Witness

COMMIT_S = (0.001, 0.03)
SLOW_COMMIT_S = (0.05, 1.5)
SLOW_SHARE = 0.02
"""of the commits of a slow disk"""

Write = tuple[str, Record | None] | Callable[[], None]
"""A record, an id to erase (None), or what is to be done once all before it is on the disk."""


class Disk:
    """Ends with its agent; what it has written by then is in `Machine.disk`."""

    def __init__(
        self,
        machine: Machine,
        timeline: Timeline,
        witness: Witness,
        handle: Callable[[Callable[[], None]], None],
    ) -> None:
        """`handle` has the agent do something, when it is not frozen."""
        self._machine = machine
        self._timeline = timeline
        self._witness = witness
        self._handle = handle
        self._lost = False
        self._waiting: list[Write] = []
        self._group: list[Write] = []

    def put(self, job_id: str, record: Record | None) -> None:
        """Write a record, or with None erase it."""
        self._queue((job_id, record))

    def then(self, call: Callable[[], None]) -> None:
        """Do something once all that was asked so far is on the disk."""
        self._queue(call)

    def crash(self) -> None:
        """What was being written is on the disk up to some point, what waited is lost."""
        self._lost = True
        for write in self._group[: self._timeline.chance.randint(0, len(self._group))]:
            self._carry_out(write)
        self._group = []
        self._waiting = []

    def _queue(self, write: Write) -> None:
        self._waiting.append(write)
        if not self._group:
            self._commit()

    def _commit(self) -> None:
        self._group, self._waiting = self._waiting, []
        slow = self._witness.slow_disks and self._timeline.happens(SLOW_SHARE)
        delay_s = self._timeline.between(*(SLOW_COMMIT_S if slow else COMMIT_S))
        doom = self._machine.doom
        if doom is not None and any(isinstance(w, tuple) and doom.strikes(w) for w in self._group):
            self._machine.doom = None
            self._timeline.after(self._timeline.between(0, delay_s), doom.strike)
        self._timeline.after(delay_s, self._committed)

    def _committed(self) -> None:
        if self._lost:
            return
        group, self._group = self._group, []
        for write in group:
            self._carry_out(write)
        if self._waiting:
            self._commit()
        for write in group:
            if not isinstance(write, tuple):
                self._handle(write)

    def _carry_out(self, write: Write) -> None:
        if not isinstance(write, tuple):
            return
        job_id, record = write
        if record is not None:
            self._machine.disk[job_id] = record
            return
        erased = self._machine.disk.pop(job_id, None)
        if erased is not None and erased.status.owner is None:
            self._witness.forgotten(job_id)
