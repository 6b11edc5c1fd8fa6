"""How far a fetch is, as a bar on a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from cnet.cli.progress import FetchProgress


def starting(detail: str | None, reason: str = "fetching") -> dict[str, Any]:
    return {"status": "pending", "status_reason": reason, "status_detail": detail}


def shown(*workloads: dict[str, Any], terminal: bool = True, quiet: bool = False) -> str:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=100)
    with FetchProgress(quiet=quiet, console=console) as progress:
        for workload in workloads:
            progress.show(workload)
            progress._bar.refresh()
    return screen.getvalue()


@pytest.mark.parametrize("what", ["busybox:latest", "data://key/a b", "[red]r.io:5000/x[/red]"])
def test_a_bar_says_what_and_how_far(what: str) -> None:
    text = shown(starting(f"{what}: 2.5 of 10.0 MiB"))
    assert what in text and "2.5/10.0 MiB" in text


@pytest.mark.parametrize(
    "workload", [starting(None), starting("x: 1.0 of 2.0 MiB", "starting"), starting("x: soon")]
)
def test_what_says_nothing_of_that_shows_none(workload: dict[str, Any]) -> None:
    assert "MiB" not in shown(workload)


def test_nothing_is_shown_where_nobody_looks() -> None:
    far = starting("x: 1.0 of 2.0 MiB")
    assert shown(far, quiet=True) == "" and shown(far, terminal=False) == ""
