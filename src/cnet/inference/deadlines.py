"""How long a request may take, as its sender says."""

from __future__ import annotations

from collections.abc import Mapping

from cnet.errors import SpecError
from cnet.inference.fields import shown

HEADER = "x-request-timeout-ms"
LONGEST_MS = 3_600_000


def time_given(headers: Mapping[str, str], default_s: float | None) -> float | None:
    """Seconds from now; None where nobody set a limit. SpecError where the header is no number."""
    text = headers.get(HEADER)
    if text is None:
        return default_s
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= number <= LONGEST_MS:
        raise SpecError(
            f"{HEADER} must be a whole number of milliseconds from 1 to {LONGEST_MS}, "
            f"not {shown(text)}",
            field=HEADER,
        )
    return number / 1000
