"""Sizes and ages as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from cnet.model.resources import in_words


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
