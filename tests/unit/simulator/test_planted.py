"""Every rule that is switched off is missed: the simulation finds each planted bug."""

from __future__ import annotations

import pytest

from cnet.simulator import run
from tests.unit.simulator.planted import PLANTS, Plant

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
