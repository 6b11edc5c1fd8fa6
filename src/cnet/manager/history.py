"""What this node held and used over the last hour, in memory, for pages that draw it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import anyio
import psutil

from cnet._support import clock
from cnet.model.resources import Resources
from cnet.register import Ledger

EVERY_S = 10
KEPT_S = 3_600


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the node."""

    at: float
    """Unix seconds"""
    held: Resources
    """by workloads and stored data"""
    busy_millicores: int
    """what all processes of the machine used since the sample before"""
    memory_used: int
    """bytes in use on the machine, by whomever"""


class History:
    """A ring of samples."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._samples: deque[Sample] = deque(maxlen=KEPT_S // EVERY_S)

    def samples(self) -> list[Sample]:
        """Oldest first."""
        return list(self._samples)

    async def run(self) -> None:
        """Look every ten seconds until cancelled."""
        psutil.cpu_percent()  # the first answer is about nothing
        while True:
            self.look()
            await anyio.sleep(EVERY_S)

    def look(self) -> None:
        """Take a sample."""
        cores = psutil.cpu_count() or 1
        self._samples.append(
            Sample(
                clock.now(),
                self._ledger.allocated,
                round(psutil.cpu_percent() * 10 * cores),
                psutil.virtual_memory().used,
            )
        )
