"""Numbers and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: float) -> str:
    """Bytes: `512 MiB`, `1.5 GiB`."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(UNITS) - 1:
        value /= 1024
        unit += 1
    digits = 0 if value >= 100 or value == int(value) else 1
    return f"{value:.{digits}f} {UNITS[unit]}"


def cores(count: float) -> str:
    """Cores: `0.5`, `4`."""
    return f"{count:.3f}".rstrip("0").rstrip(".") or "0"


def percent(part: float, whole: float) -> float:
    """A share in percent, from 0 to 100; 0 of nothing."""
    return 0.0 if whole <= 0 else max(0.0, min(100.0, 100.0 * part / whole))


def moment(at: float) -> str:
    """Unix seconds as ISO 8601 in UTC, for `<time datetime>`; scripts show the reader's time."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `5 h 12 min`, `3 d 4 h`."""
    whole = max(0, int(seconds))
    for unit, next_unit, length, next_length in (
        ("d", "h", 86_400, 3_600),
        ("h", "min", 3_600, 60),
        ("min", "s", 60, 1),
    ):
        if whole >= length:
            rest = whole % length // next_length
            return f"{whole // length} {unit}" + (f" {rest} {next_unit}" if rest else "")
    return f"{whole} s"
