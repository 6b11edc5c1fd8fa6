"""Ended from outside, a tool ends what it has started."""

from __future__ import annotations

import signal
import sys


def exit_when_asked() -> None:
    """SIGTERM and SIGINT end the program by SystemExit, so that `finally` is run.

    Only once: a second one does not break the cleaning up.
    """

    def leave(number: int, _frame: object) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, leave)
