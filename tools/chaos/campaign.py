"""One seeded run from an empty data directory to an empty one, and the report about it."""

from __future__ import annotations

import os
import random
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from cnet._support.ports import free_ports
from cnet.supervision.cgroup_setup import base_name
from tools.chaos import system
from tools.chaos.agent import AgentUnderTest, UnansweredError
from tools.chaos.checks import Checker
from tools.chaos.clients import Client
from tools.chaos.model import InvariantError, Model
from tools.chaos.nemesis import Card, Nemesis
from tools.chaos.threads import Gate
from tools.chaos.waiting import until

CLIENTS = 3
CHECK_SHARE = 0.3  # of the kills are followed by a check
DRAIN_S = 60.0
EMPTY_WITHIN_S = 30.0
PROGRAMS = ("sh", "sleep", "flock", "setsid")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: `kills` blows; `plant` names a bug to be found."""

    seed: int
    kills: int
    plant: str | None = None


class Campaign:
    """Owns the agent, the client threads and the model of one run."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            raise SystemExit(f"error: not on PATH: {', '.join(missing)}")
        self.plan = plan
        rng = random.Random(plan.seed)
        self.mark = str(uuid.UUID(int=rng.getrandbits(128), version=4)) + f"-{os.getpid()}"
        self.folder = folder
        (folder / "locks").mkdir(parents=True)
        self.agent = AgentUnderTest(folder, plant=plan.plant)
        self.model = Model()
        self._gate = Gate()
        (self._port,) = free_ports(1)
        self._rng = rng
        self.nemesis = Nemesis(
            self.agent, self.model, self._gate, rng=random.Random(plan.seed + 1), mark=self.mark
        )
        self.checker = Checker(self.agent, self.model, mark=self.mark)
        self._clients = [
            Client(
                self.agent,
                self.model,
                self._gate,
                rng=random.Random(plan.seed * 1000 + number),
                folder=folder,
                mark=self.mark,
                port=self._port if number == 0 else None,
            )
            for number in range(CLIENTS)
        ]

    def run(self) -> None:
        """Raises InvariantError. Whatever happens, no process of it is left afterwards."""
        try:
            self._run()
        except UnansweredError as error:
            raise InvariantError(
                "answer", f"the agent is up but does not answer: {error}"
            ) from error
        finally:
            self._gate.end()
            self._clean_up()

    def _run(self) -> None:
        self.agent.start()
        for client in self._clients:
            client.start()
        while self.nemesis.kills < self.plan.kills:
            self._gate.open()
            card = self.nemesis.strike()
            self._raise_failures()
            if card is Card.REUSED_PID or self._rng.random() < CHECK_SHARE:
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
        self.nemesis.check_bystanders()

    def _raise_failures(self) -> None:
        for client in self._clients:
            if client.failure is not None:
                raise client.failure

    # --- the end -------------------------------------------------------------------------------

    def _empty(self) -> None:
        """Delete everything; then nothing may be held, nothing run, nothing lie about."""
        for workload_id in self.agent.workloads():
            status, answer = self.agent.call("DELETE", f"/api/workloads/{workload_id}")
            if status != 200:
                raise InvariantError(
                    "answer", f"delete was answered {status} {answer}", workload_id
                )
        if left := self.agent.workloads():
            raise InvariantError("resurrected", f"deleted, but listed: {sorted(left)}")
        if any((used := self.agent.used()).values()):
            raise InvariantError("quota", f"used {used} after everything was deleted")
        self._check_port()
        code = self.agent.terminate()
        if code != 0:
            raise InvariantError("answer", f"the agent ended with {code} when asked to")
        self._check_nothing_left()

    def _check_port(self) -> None:
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

    def _check_nothing_left(self) -> None:
        if not until(lambda: not self._processes(), timeout_s=EMPTY_WITHIN_S):
            words = ", ".join(system.describe(process) for process in self._processes()[:5])
            raise InvariantError("left_over", f"processes: {words}")
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
        """Everything of this run that lives: workloads, shims, spawners, agents."""
        marked = [
            process
            for process, environment in system.environments()
            if environment.get("CHAOS_MARK") == self.mark
            or self.model.find(environment.get("CNET_RUN_ID", "").rpartition(".")[0]) is not None
        ]
        return marked + system.mentioning(str(self.agent.data_dir))

    def _clean_up(self) -> None:
        self.agent.kill()
        self.nemesis.clear()
        deadline = time.monotonic() + EMPTY_WITHIN_S
        while (left := self._processes()) and time.monotonic() < deadline:
            for process in left:
                process.kill()
            time.sleep(0.05)
        for base in self._base_groups():
            for path in (*base.iterdir(), base):
                if path.is_dir():
                    path.rmdir()
