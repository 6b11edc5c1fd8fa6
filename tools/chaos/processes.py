"""A campaign over processes and services: agents, spawners and shims are killed."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from cnet.supervision.cgroup_setup import base_name
from tools.chaos import campaign, system
from tools.chaos.campaign import Plan
from tools.chaos.checks import Checker
from tools.chaos.clients import Client
from tools.chaos.model import InvariantError
from tools.chaos.nemesis import Card, Nemesis

PROGRAMS = ("sh", "sleep", "flock", "setsid")


class Campaign(campaign.Campaign):
    """`run` it, then look at the counts."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            raise SystemExit(f"error: not on PATH: {', '.join(missing)}")
        super().__init__(plan, folder)
        (folder / "locks").mkdir(parents=True)
        self.nemesis = Nemesis(
            self.agent, self.model, self._gate, rng=random.Random(plan.seed + 1), mark=self.mark
        )
        self.checker = Checker(self.agent, self.model, mark=self.mark)
        self._add_clients(Client)

    def _blows(self) -> Iterator[bool]:
        while self.nemesis.kills < self.plan.kills:
            yield self.nemesis.strike() is Card.REUSED_PID

    def _inspect(self) -> None:
        self.checker.check()
        self.nemesis.check_bystanders()

    # --- the end -------------------------------------------------------------------------------

    def _require_given_back(self) -> None:
        """The port of all the services is nobody's any more."""
        body = {
            "name": "port-check",
            "type": "opencv",
            "config": {"cascade_type": "face", "service_port": self._port},
        }
        status, answer = self.agent.call("POST", "/api/workloads?wait=false", body)
        if status == 201:
            self.agent.call("DELETE", f"/api/workloads/{answer['id']}")
        elif "held by workload" in answer["details"]:
            raise InvariantError("port", f"{self._port} was not given back: {answer}")

    def _require_nothing_left(self) -> None:
        if folders := [path.name for path in self.agent.runs.iterdir() if path.is_dir()]:
            raise InvariantError("left_over", f"run directories: {folders}")
        if bases := self._base_groups():
            inside = [path.name for base in bases for path in base.iterdir() if path.is_dir()]
            words = f"{bases}, with {len(inside)} inside: {inside[:5]}"
            raise InvariantError("left_over", f"control groups: {words}")

    def _base_groups(self) -> list[Path]:
        name = base_name(str(self.agent.runs))
        # Not `glob`: groups of others go while it looks, and it would break off.
        return [Path(top, name) for top, inside, _ in os.walk("/sys/fs/cgroup") if name in inside]

    def _processes(self) -> list[system.Process]:
        """Workloads, shims, spawners, agents."""
        marked = [
            process
            for process, environment in system.environments()
            if environment.get("CHAOS_MARK") == self.mark
            or self.model.find(environment.get("CNET_RUN_ID", "").rpartition(".")[0]) is not None
        ]
        return marked + super()._processes()

    def _clean_up(self) -> None:
        self.nemesis.clear()
        for base in self._base_groups():
            for path in (*base.iterdir(), base):
                if path.is_dir():
                    path.rmdir()
