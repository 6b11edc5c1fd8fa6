"""The real view, exchange, scheduler, ledger and delegation keep their promises under faults."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cnet.simulator import run
from cnet.simulator.main import main
from tests.unit.simulator.planted import unreachable_means_lost

SEEDS = 30
NODES = 20
WORKLOADS = 60


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_promise_holds_under_faults(seed: int) -> None:
    report = run(nodes=NODES, workloads=WORKLOADS, seed=seed, faults=True)
    assert report.violation is None
    assert report.starts > 0


@pytest.mark.parametrize("nodes", [1, 2, 7])
def test_small_trees(nodes: int) -> None:
    for seed in range(5):
        assert run(nodes=nodes, workloads=30, seed=seed, faults=nodes > 1).violation is None


def test_a_large_tree_without_faults() -> None:
    report = run(nodes=300, workloads=1_000, seed=1, faults=False)
    assert report.violation is None
    # Some fit nowhere, and some are stopped before they start.
    assert report.starts >= 800


def test_a_seed_goes_the_same_way_whatever_the_order_of_hashes() -> None:
    program = (
        "from cnet.simulator import run\n"
        "print([run(nodes=12, workloads=40, seed=seed, faults=True).digest for seed in range(4)])"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert told[0] == told[1]


def test_another_seed_goes_another_way() -> None:
    digests = {run(nodes=5, workloads=10, seed=seed, faults=True).digest for seed in range(4)}
    assert len(digests) == 4


def test_a_bad_seed_is_told_with_what_shows_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unreachable_means_lost(monkeypatch)
    assert main(["--nodes", "12", "--workloads", "40", "--seeds", "12", "--faults"]) == 1
    said = capsys.readouterr().out
    assert "cnet simulate --nodes 12 --workloads 40 --seed" in said
    assert said.splitlines()[-1].startswith("12 runs of 12 nodes and 40 workloads:")


def test_good_seeds_end_with_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nodes", "5", "--workloads", "10", "--seed", "4", "--faults"]) == 0
    assert "every promise held" in capsys.readouterr().out
