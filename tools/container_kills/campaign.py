"""A campaign over containers: an engine of its own is ended, too."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.engine import IMAGE, Engine

from tools.chaos import campaign
from tools.chaos.model import InvariantError
from tools.chaos.waiting import until
from tools.container_kills.checks import Checker
from tools.container_kills.clients import Client
from tools.container_kills.foreign import Foreign
from tools.container_kills.nemesis import Nemesis, blows

GONE_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Plan(campaign.Plan):
    """`live_restore`: how the engine is set."""

    engine_restarts: int = 0
    live_restore: bool = False

    @property
    def check_share(self) -> float:
        """Every blow to the engine is followed by a check anyway."""
        return 0.3 if self.plant is None else 1.0


class Campaign(campaign.Campaign):
    """`run` it, then look at the counts."""

    plan: Plan

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.engine = Engine(options=("--live-restore",) if plan.live_restore else ())
        settings = {
            "CNET_DOCKER__HOST": self.engine.host,
            "CNET_DOCKER__VOLUME_ROOTS": f"[{folder}]",
        }
        super().__init__(plan, folder, settings)
        self._foreign = Foreign(self.engine)
        self.checker = Checker(self.agent, self.model, self.engine, self._foreign)
        self.nemesis = Nemesis(
            self.agent, self.engine, self.model, self._gate, rng=random.Random(plan.seed + 1)
        )
        self._add_clients(Client, image=IMAGE)

    def _set_up(self) -> None:
        self.engine.start()
        self.engine.import_busybox()
        self._foreign.make()
        super()._set_up()

    def _blows(self) -> Iterator[bool]:
        for blow in blows(self.plan.kills, self.plan.engine_restarts, self._rng):
            self.nemesis.strike(blow)
            if blow.ends_engine:
                self._foreign.engine_restarted()
            yield blow.ends_engine

    def _inspect(self) -> None:
        self.checker.check()

    def _require_given_back(self) -> None:
        if not until(lambda: not self.checker.containers(), timeout_s=GONE_WITHIN_S):
            raise InvariantError("left_over", f"containers: {sorted(self.checker.containers())}")
        self._foreign.check()

    def _require_nothing_left(self) -> None:
        folders = [path.name for path in (self.agent.data_dir / "containers").iterdir()]
        if folders:
            raise InvariantError("left_over", f"folders of containers: {folders}")

    def _clean_up(self) -> None:
        self.engine.discard()
