"""Tables and bars for people, by Rich; colours only on a terminal (and never with NO_COLOR)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cnet.cli.output import printable
from cnet.cli.sizes import format_age, format_size
from cnet.cli.targets import SHORT_ID
from cnet.client import JsonObject

_STATUS_STYLES = {
    "running": "green",
    "pending": "yellow",
    "completed": "blue",
    "failed": "bold red",
    "stopped": "dim",
}
_PIPE_WIDTH = 1000  # a pipe has no width: nothing may be cut off there
_BAR_WIDTH = 24


def console() -> Console:
    """A console on the present stdout."""
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, markup=False)


def plain_table(*columns: str, right: Sequence[str] = ()) -> Table:
    """A table without lines, as `docker ps` prints; `right` names right-aligned columns."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for column in columns:
        wraps = column in ("REASON", "NAME", "ENDPOINT")
        table.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=not wraps,
            overflow="fold",
        )
    return table


def cell(value: object, *, style: str = "") -> Text:
    """Text for a table, whatever characters and brackets it has."""
    return Text(printable("" if value is None else value), style=style)


def status_cell(status: str) -> Text:
    """A status word in its colour."""
    return cell(status, style=_STATUS_STYLES.get(status, ""))


def workload_table(workloads: Sequence[JsonObject]) -> Table:
    """One line per workload, in the given order."""
    table = plain_table(
        *("ID", "NAME", "TYPE", "STATUS", "REASON", "NODE", "ENDPOINT", "RESTARTS", "AGE"),
        right=("RESTARTS", "AGE"),
    )
    for each in workloads:
        table.add_row(
            cell(each["id"][:SHORT_ID]),
            cell(each["name"]),
            cell(each["type"]),
            status_cell(each["status"]),
            cell(_reason(each)),
            cell(each.get("node_id")),
            cell(each.get("endpoint")),
            cell(each.get("restarts", 0)),
            cell(format_age(each["created_at"])),
        )
    return table


def _reason(workload: JsonObject) -> str:
    reason = workload.get("status_reason") or ""
    code = workload.get("exit_code")
    if workload.get("exit_signal"):
        return f"{reason} {workload['exit_signal']}".strip()
    return f"{reason} ({code})".strip() if code else reason


def quota_table(resources: JsonObject) -> Table:
    """The four resources of a node: a bar, and used of total."""
    table = plain_table("RESOURCE", "", "USED", "TOTAL", right=("USED", "TOTAL"))
    for name in ("cpu", "memory", "gpu", "storage"):
        used, total = resources["used"].get(name, 0), resources["total"].get(name, 0)
        table.add_row(
            cell(name),
            bar(used / total if total else 0.0),
            cell(format_amount(name, used)),
            cell(format_amount(name, total)),
        )
    return table


def bar(share: float) -> Text:
    """A bar for a share of 0–1; red from 0.9, yellow from 0.7."""
    filled = round(min(max(share, 0.0), 1.0) * _BAR_WIDTH)
    colour = "red" if share >= 0.9 else "yellow" if share >= 0.7 else "green"
    return Text.assemble(
        ("█" * filled, colour), ("░" * (_BAR_WIDTH - filled), "dim"), f" {share:4.0%}"
    )


def format_amount(resource: str, amount: float) -> str:
    """An amount as on the wire (cores, bytes, devices), for people."""
    if resource in ("memory", "storage"):
        return format_size(amount)
    return f"{amount:g}"
