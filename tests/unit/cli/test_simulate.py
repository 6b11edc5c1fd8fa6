"""`cnet simulate` goes through its seeds and stops at the first that breaks a promise."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from cnet.cli import simulate
from cnet.cli.main import main


@dataclass(frozen=True)
class Report:
    ok: bool
    summary: str
    violation: str | None


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int, bool]]:
    """What is simulated; seed 9 is a bad one."""
    calls: list[tuple[int, int, int, bool]] = []

    def run(*, nodes: int, workloads: int, seed: int, faults: bool) -> Report:
        calls.append((nodes, workloads, seed, faults))
        return Report(seed != 9, f"{nodes} nodes", "w ran twice" if seed == 9 else None)

    monkeypatch.setattr(simulate, "run", run)
    return calls


def test_seeds_follow_each_other(
    seen: list[tuple[int, int, int, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["simulate", "--nodes", "3", "--workloads", "4", "--seed", "5", "--seeds", "2"]) == 0
    )
    assert seen == [(3, 4, 5, False), (3, 4, 6, False)]
    assert capsys.readouterr().out == "seed 5: 3 nodes\nseed 6: 3 nodes\n"


def test_a_broken_promise_is_code_1_with_the_command_that_repeats_it(
    seen: list[tuple[int, int, int, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--seed", "8", "--seeds", "5", "--faults"]) == 1
    assert [call[2] for call in seen] == [8, 9]
    written = capsys.readouterr()
    assert "violation: w ran twice" in written.err
    assert "cnet simulate --nodes 20 --workloads 100 --seed 9 --faults" in written.err


@pytest.mark.usefixtures("seen")
def test_as_json_one_object_a_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--json", "--seed", "8", "--seeds", "2"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["seed"], line["ok"]) for line in lines] == [(8, True), (9, False)]
    assert lines[1]["violation"] == "w ran twice"
