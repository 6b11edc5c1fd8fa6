"""Wall-clock times as they travel on the wire."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> float:
    """Unix time in seconds."""
    return time.time()


def boottime() -> float:
    """Seconds since the machine was started, with those it slept; never jumps back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def compact(unix_s: float) -> str:
    """`20261121083000` in UTC."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y%m%d%H%M%S")


def rfc3339(unix_s: float | None) -> str | None:
    """`2026-11-21T08:30:00.123456Z` for a Unix time in seconds; None stays None."""
    if unix_s is None:
        return None
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="microseconds")[:-6] + "Z"
