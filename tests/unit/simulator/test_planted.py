"""Every rule that is switched off is missed: the simulation finds each planted bug."""

from __future__ import annotations

import pytest

from cnet.simulator import run
from tests.unit.simulator.planted import HIDDEN, PLANTS, Plant, nothing_is_repaired

MOST_SEEDS = 60
NODES = 12
WORKLOADS = 50


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    for seed in range(MOST_SEEDS):
        if not run(nodes=NODES, workloads=WORKLOADS, seed=seed, faults=True).ok:
            return
    pytest.fail(f"{MOST_SEEDS} runs without {plant.__name__} show nothing")


@pytest.mark.parametrize("plant", HIDDEN, ids=lambda plant: plant.__name__)
def test_a_planted_bug_that_repair_would_hide_is_found(plant: Plant) -> None:
    for seed in range(MOST_SEEDS):
        if _holds(seed, nothing_is_repaired) and not _holds(seed, nothing_is_repaired, plant):
            return
    pytest.fail(f"{MOST_SEEDS} runs without {plant.__name__} show nothing")


def _holds(seed: int, *plants: Plant) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        for plant in plants:
            plant(patch)
        return run(nodes=NODES, workloads=WORKLOADS, seed=seed, faults=True).ok
