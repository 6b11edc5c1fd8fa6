"""Parts of a spec as people write them: sizes with units, `K=V` pairs, affinity terms.

For the command line and for forms of the web page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from cnet.errors import SpecError

_UNITS = {
    "": 1,
    "B": 1,
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", start=1)},
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", start=1)},
}
_BY_LOWER = {unit.lower(): size for unit, size in _UNITS.items()}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", re.ASCII)
_OF_WORKLOADS = "workload:"


def parse_size(text: str, *, field: str, unit: str = "") -> int:
    """Whole bytes for `512MiB`, `1.5 GB`, `1000`; units are taken in any case.

    KiB, MiB, GiB, TiB are powers of 1024 and KB, MB, GB, TB powers of 1000; `unit` is that of a
    bare number. Raises SpecError naming `field`.
    """
    match = _SIZE.fullmatch(text)
    size = _BY_LOWER.get((match[2] or unit).lower()) if match else None
    if match is None or size is None:
        raise SpecError(
            f"{field}: {text!r} is no size; write {unit or 'bytes'} or a number with one of "
            f"{', '.join(filter(None, _UNITS))}, as in 512MiB",
            field=field,
        )
    return int(Decimal(match[1]) * size)


def pairs(items: Iterable[str], *, option: str) -> dict[str, str]:
    """`K=V` items as a mapping. Raises SpecError for an item without a name or `=`."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not name or not equals:
            raise SpecError(f"{option}: {item!r} must have the form NAME=VALUE", field=option)
        found[name] = value
    return found


def affinities(items: Iterable[str], *, option: str, required: bool = True) -> list[dict[str, Any]]:
    """One affinity term per item: `K=V` for a label of nodes, `workload:K=V` of workloads there.

    `K` alone stands for any value. Raises SpecError.
    """
    found: list[dict[str, Any]] = []
    for item in items:
        of_workloads = item.startswith(_OF_WORKLOADS)
        name, equals, value = item.removeprefix(_OF_WORKLOADS).partition("=")
        if not name:
            raise SpecError(
                f"{option}: {item!r} must have the form NAME=VALUE, NAME, or one of these behind "
                f"{_OF_WORKLOADS}",
                field=option,
            )
        term: dict[str, Any] = {
            "workload_labels" if of_workloads else "node_labels": {name: value if equals else "*"}
        }
        found.append(term if required else term | {"required": False})
    return found
