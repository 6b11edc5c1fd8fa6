"""One seeded run: an engine and an agent of its own, clients, and whoever kills both."""

from __future__ import annotations

import os
import random
import uuid
from dataclasses import dataclass
from pathlib import Path

from tests.support.engine import IMAGE, Engine

from cnet._support.ports import free_ports
from tools.chaos import system
from tools.chaos.agent import AgentUnderTest, UnansweredError
from tools.chaos.model import InvariantError, Model
from tools.chaos.threads import Gate
from tools.chaos.waiting import until
from tools.container_kills.checks import Checker
from tools.container_kills.clients import Client
from tools.container_kills.foreign import Foreign
from tools.container_kills.nemesis import Nemesis, blows

CLIENTS = 3
DRAIN_S = 60.0
GONE_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do; `plant` names a bug to be found, `live_restore` how the engine is set."""

    seed: int
    kills: int
    engine_restarts: int
    plant: str | None = None
    live_restore: bool = False

    @property
    def check_share(self) -> float:
        """Of the blows to the agent are followed by a check, as every one to the engine is."""
        return 0.3 if self.plant is None else 1.0


class Campaign:
    """Owns everything of one run; `run` it, then look at the counts."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self._rng = random.Random(plan.seed)
        mark = f"{uuid.UUID(int=self._rng.getrandbits(128), version=4)}-{os.getpid()}"
        self.engine = Engine(options=("--live-restore",) if plan.live_restore else ())
        settings = {
            "CNET_DOCKER__HOST": self.engine.host,
            "CNET_DOCKER__VOLUME_ROOTS": f"[{folder}]",
        }
        self.agent = AgentUnderTest(folder, plant=plan.plant, settings=settings)
        self.model = Model()
        self._gate = Gate()
        self._foreign = Foreign(self.engine)
        self.checker = Checker(self.agent, self.model, self.engine, self._foreign)
        self.nemesis = Nemesis(
            self.agent, self.engine, self.model, self._gate, rng=random.Random(plan.seed + 1)
        )
        (port,) = free_ports(1)
        self._clients = [
            Client(
                self.agent,
                self.model,
                self._gate,
                rng=random.Random(plan.seed * 1000 + number),
                folder=folder,
                mark=mark,
                port=port if number == 0 else None,
                image=IMAGE,
            )
            for number in range(CLIENTS)
        ]

    def run(self) -> None:
        """Raises InvariantError. Whatever happens, nothing of it is left afterwards."""
        try:
            self.engine.start()
            self.engine.import_busybox()
            self._foreign.make()
            self._run()
        except UnansweredError as error:
            raise InvariantError(
                "answer", f"the agent is up but does not answer: {error}"
            ) from error
        finally:
            self._gate.end()
            self.agent.kill()
            self.engine.discard()
            for process in system.mentioning(str(self.agent.data_dir)):
                process.kill()

    def _run(self) -> None:
        self.agent.start()
        for client in self._clients:
            client.start()
        for blow in blows(self.plan.kills, self.plan.engine_restarts, self._rng):
            self._gate.open()
            self.nemesis.strike(blow)
            self._raise_failures()
            if blow.ends_engine:
                self._foreign.engine_restarted()
            if blow.ends_engine or self._rng.random() < self.plan.check_share:
                self._check()
        self._check()
        self._gate.end()
        self._empty()

    def _check(self) -> None:
        """With no operation under way; none begins afterwards, either."""
        self._gate.close()
        self._gate.drain(DRAIN_S)
        self._raise_failures()
        self.agent.require_alive()
        self.checker.check()

    def _raise_failures(self) -> None:
        for client in self._clients:
            if client.failure is not None:
                raise client.failure

    def _empty(self) -> None:
        """Delete everything; then nothing may be held, nothing run, nothing lie about."""
        for workload_id in self.agent.workloads():
            status, answer = self.agent.call("DELETE", f"/api/workloads/{workload_id}")
            if status != 200:
                raise InvariantError("answer", f"delete: {status} {answer}", workload_id)
        if left := self.agent.workloads():
            raise InvariantError("resurrected", f"deleted, but listed: {sorted(left)}")
        if any((used := self.agent.used()).values()):
            raise InvariantError("quota", f"used {used} after everything was deleted")
        if not until(lambda: not self.checker.containers(), timeout_s=GONE_WITHIN_S):
            raise InvariantError("left_over", f"containers: {sorted(self.checker.containers())}")
        self._foreign.check()
        if (code := self.agent.terminate()) != 0:
            raise InvariantError("answer", f"the agent ended with {code} when asked to")
        folders = [path.name for path in (self.agent.data_dir / "containers").iterdir()]
        if folders:
            raise InvariantError("left_over", f"folders of containers: {folders}")
        inside = str(self.agent.data_dir)
        if not until(lambda: not system.mentioning(inside), timeout_s=GONE_WITHIN_S):
            words = ", ".join(map(system.describe, system.mentioning(inside)))
            raise InvariantError("left_over", f"processes: {words}")
