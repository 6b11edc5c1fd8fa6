"""The promised exit codes."""

from __future__ import annotations

import pytest

from cnet.cli.exit_codes import for_error, for_workload
from cnet.errors import (
    AuthError,
    CapacityError,
    CnetError,
    ConfigError,
    ForbiddenError,
    MalformedError,
    NotFoundError,
    SpecError,
    TransientError,
    TransitionError,
    UnreachableError,
)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (CnetError, 1),
        (ConfigError, 2),
        (TransitionError, 1),
        (CapacityError, 1),
        (TransientError, 1),
        (SpecError, 2),
        (MalformedError, 2),
        (NotFoundError, 3),
        (UnreachableError, 4),
        (AuthError, 5),
        (ForbiddenError, 5),
    ],
)
def test_errors(kind: type[CnetError], code: int) -> None:
    assert for_error(kind("sentence")) == code


@pytest.mark.parametrize(
    ("workload", "code"),
    [
        ({"status": "completed", "exit_code": 0}, 0),
        ({"status": "failed", "exit_code": 7}, 7),
        ({"status": "failed", "exit_code": -1, "exit_signal": "SIGKILL"}, 137),
        ({"status": "stopped", "exit_code": -1, "exit_signal": "SIGTERM"}, 143),
        ({"status": "failed", "status_reason": "exec_failed"}, 1),
        ({"status": "stopped"}, 1),
    ],
)
def test_workloads(workload: dict[str, object], code: int) -> None:
    assert for_workload(workload) == code
