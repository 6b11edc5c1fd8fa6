"""Sizes and ages as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

from cnet.errors import SpecError
from cnet.model.resources import in_words

_UNITS = {
    "": 1,
    "B": 1,
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", start=1)},
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", start=1)},
}
_BY_LOWER = {unit.lower(): size for unit, size in _UNITS.items()}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", re.ASCII)


def parse_size(text: str, *, field: str) -> int:
    """Whole bytes for `512MiB`, `1.5 GB`, `1000`; units are taken in any case.

    KiB, MiB, GiB, TiB are powers of 1024 and KB, MB, GB, TB powers of 1000. Raises SpecError
    naming `field`.
    """
    match = _SIZE.fullmatch(text)
    unit = _BY_LOWER.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise SpecError(
            f"{field}: {text!r} is no size; write bytes or a number with one of "
            f"{', '.join(filter(None, _UNITS))}, as in 512MiB",
            field=field,
        )
    return int(Decimal(match[1]) * unit)


def format_size(count: int | float) -> str:
    """`1.5 GiB`."""
    return in_words("memory", int(count))


def format_age(created_at: str, *, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 time was: `42s`, `5m`, `3h`, `12d`."""
    try:
        then = datetime.fromisoformat(created_at)
    except ValueError:
        return "?"
    seconds = max(0, int(((now or datetime.now(UTC)) - then).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
