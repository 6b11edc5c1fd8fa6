"""Several processes that answer at one port, for machines with more than one core.

The parent serves nothing: it passes on that they are to end, and when one of them ends by itself
it ends the others, so that whoever started the program sees that it failed.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

_LOGGER = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1


def supervise(count: int, work: Callable[[], int]) -> int:
    """Run `work` in `count` processes until all have ended; the first exit code that is not 0.

    To be called while there are no threads.
    """
    parent = os.getpid()
    workers: dict[int, int] = {}
    for _ in range(count):
        number = os.fork()
        if number == 0:
            _become_worker(parent, work)
        workers[number] = os.pidfd_open(number)

    def end(*_: object) -> None:
        for descriptor in workers.values():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)

    ending = False

    def told(_number: int, _frame: FrameType | None) -> None:
        nonlocal ending
        ending = True
        end()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    result = 0
    while workers:
        number, status = os.wait()
        os.close(workers.pop(number))
        code = os.waitstatus_to_exitcode(status)
        if not ending or code not in (0, -signal.SIGTERM):
            _LOGGER.error("worker %d ended with %d", number, code)
            result = result or max(code, 1)
            ending = True
            end()
    return result


def _become_worker(parent: int, work: Callable[[], int]) -> NoReturn:
    code = 1
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == parent:
            code = work()
    finally:
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)
