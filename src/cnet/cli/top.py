"""`cnet top`: quota bars and what each running workload really uses."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live

from cnet.cli import tables
from cnet.cli.output import emit_json_line
from cnet.cli.session import AgentOption, JsonOption, session_of
from cnet.cli.sizes import format_size
from cnet.cli.targets import SHORT_ID
from cnet.client import AgentClient, JsonObject
from cnet.errors import CnetError

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One workload at one moment; `cpu_percent` of one core, None at its first sample."""

    workload: JsonObject
    usage: JsonObject
    cpu_percent: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment: the node's resources and the running workloads, busiest first."""

    resources: JsonObject
    rows: list[Row]
    unsampled: int


@app.command()
def top(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="One sample, then end.")] = False,
    interval: Annotated[
        float, typer.Option(min=0.2, max=3600, metavar="S", help="Seconds between samples.")
    ] = 2.0,
    most: Annotated[int, typer.Option("--limit", min=1, help="Workloads sampled at most.")] = 50,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch the node's quota and what each running workload uses.

    CPU is a difference between two samples, in percent of one core.
    """
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        samples = _samples(client, interval_s=min(interval, 1.0) if once else interval, most=most)
        if session.as_json or once or not sys.stdout.isatty():
            next(samples)  # the first has no CPU figures
            for sample in samples:
                if session.as_json:
                    emit_json_line(_as_object(sample))
                else:
                    tables.console().print(_screen(sample))
                if once:
                    return
        with Live(console=tables.console(), screen=True, auto_refresh=False) as live:
            for sample in samples:
                live.update(_screen(sample), refresh=True)


def _samples(client: AgentClient, *, interval_s: float, most: int) -> Iterator[Sample]:
    before: dict[str, JsonObject] = {}
    while True:
        running = client.list(status="running")
        usages = {each["id"]: _usage(client, each["id"]) for each in running[:most]}
        rows = [
            Row(each, usage, cpu_percent(before.get(each["id"]), usage))
            for each in running[:most]
            if (usage := usages[each["id"]]) is not None
        ]
        rows.sort(key=lambda row: (-(row.cpu_percent or 0.0), row.workload["name"]))
        yield Sample(client.resources(), rows, unsampled=max(0, len(running) - most))
        before = {name: usage for name, usage in usages.items() if usage is not None}
        time.sleep(interval_s)


def _usage(client: AgentClient, workload_id: str) -> JsonObject | None:
    """None when it has ended meanwhile (or is about to)."""
    try:
        return client.usage(workload_id)
    except CnetError as error:
        if error.retryable or error.code not in ("not_found", "wrong_state"):
            raise
        return None


def cpu_percent(before: JsonObject | None, now: JsonObject) -> float | None:
    """Percent of one core between two `usage` objects; None without a usable earlier one."""
    if before is None:
        return None
    seconds = (_moment(now["at"]) - _moment(before["at"])).total_seconds()
    spent = now["cpu_s"] - before["cpu_s"]
    # A restart in between starts the counter afresh.
    return 100.0 * spent / seconds if seconds > 0 and spent >= 0 else None


def _moment(at: str) -> datetime:
    return datetime.fromisoformat(at)


def _screen(sample: Sample) -> Group:
    table = tables.plain_table(
        *("ID", "NAME", "TYPE", "CPU %", "MEMORY", "PROCESSES", "HELD"),
        right=("CPU %", "MEMORY", "PROCESSES"),
    )
    for row in sample.rows:
        held = row.workload["requirements"]
        percent = "" if row.cpu_percent is None else f"{row.cpu_percent:.1f}"
        table.add_row(
            tables.cell(row.workload["id"][:SHORT_ID]),
            tables.cell(row.workload["name"]),
            tables.cell(row.workload["type"]),
            tables.cell(percent),
            tables.cell(format_size(row.usage["rss_bytes"])),
            tables.cell(row.usage["processes"]),
            tables.cell(f"{held['cpu']:g} cores, {format_size(held['memory'])}"),
        )
    more = [tables.cell(f"{sample.unsampled} more running")] if sample.unsampled else []
    head = tables.cell(f"node {sample.resources['node_id']}", style="bold")
    return Group(head, tables.quota_table(sample.resources), tables.cell(""), table, *more)


def _as_object(sample: Sample) -> JsonObject:
    return {
        "resources": sample.resources,
        "workloads": [
            {
                "id": row.workload["id"],
                "name": row.workload["name"],
                "type": row.workload["type"],
                "requirements": row.workload["requirements"],
                "cpu_percent": row.cpu_percent,
                **row.usage,
            }
            for row in sample.rows
        ],
        "unsampled": sample.unsampled,
    }
