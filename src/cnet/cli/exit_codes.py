"""The exit codes scripts may rely on, and which error leads to which."""

from __future__ import annotations

import signal
from enum import IntEnum
from typing import Any

from cnet.errors import (
    AuthError,
    CnetError,
    ConfigError,
    NotFoundError,
    SpecError,
    UnreachableError,
)


class ExitCode(IntEnum):
    """See `HELP` for what users are told."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4
    UNAUTHORISED = 5
    INTERRUPTED = 130


HELP = (
    "Exit codes: 0 done; 1 the workload failed or the agent refused; 2 wrong usage, an invalid "
    "field or configuration; 3 no such workload; 4 no agent answers; 5 not authorised; "
    "130 interrupted. "
    "`run --wait` and `run --follow` exit with the workload's own code, "
    "128 + n when signal n ended it."
)

_BY_ERROR: tuple[tuple[type[CnetError], ExitCode], ...] = (
    (AuthError, ExitCode.UNAUTHORISED),
    (NotFoundError, ExitCode.NOT_FOUND),
    (UnreachableError, ExitCode.UNREACHABLE),
    (SpecError, ExitCode.USAGE),
    (ConfigError, ExitCode.USAGE),
)


def for_error(error: CnetError) -> ExitCode:
    """The code for an error; FAILED where the table has no better one."""
    matching = (code for kind, code in _BY_ERROR if isinstance(error, kind))
    return next(matching, ExitCode.FAILED)


def for_workload(workload: dict[str, Any]) -> int:
    """The code for an ended workload: its own, or 128 + n when signal n ended it."""
    by_signal = workload.get("exit_signal")
    if by_signal:
        return 128 + signal.Signals[by_signal].value
    code = workload.get("exit_code")
    if isinstance(code, int) and code >= 0:
        return code
    return ExitCode.OK if workload["status"] == "completed" else ExitCode.FAILED
