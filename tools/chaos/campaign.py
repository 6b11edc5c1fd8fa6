"""One seeded run against one agent, from an empty data directory to an empty one."""

from __future__ import annotations

import os
import random
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnet._support.ports import free_ports
from tools.chaos import system
from tools.chaos.agent import WITHOUT_ENGINE, AgentUnderTest, UnansweredError
from tools.chaos.clients import Client
from tools.chaos.model import InvariantError, Model
from tools.chaos.threads import Gate
from tools.chaos.waiting import until

CLIENTS = 3
DRAIN_S = 60.0
EMPTY_WITHIN_S = 30.0
LOG_LINES = 30


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: `kills` blows; `plant` names a bug to be found."""

    seed: int
    kills: int
    plant: str | None = None

    @property
    def check_share(self) -> float:
        """Of the blows are followed by a check, though none must be."""
        return 0.3


class Campaign(ABC):
    """Owns the agent, the client threads and the model of one run."""

    def __init__(
        self, plan: Plan, folder: Path, settings: Mapping[str, str] = WITHOUT_ENGINE
    ) -> None:
        """`settings`: of the agent, as `AgentUnderTest` has them."""
        self.plan = plan
        self.folder = folder
        self._rng = random.Random(plan.seed)
        self.mark = f"{uuid.UUID(int=self._rng.getrandbits(128), version=4)}-{os.getpid()}"
        self.agent = AgentUnderTest(folder, plant=plan.plant, settings=settings)
        self.model = Model()
        self._gate = Gate()
        (self._port,) = free_ports(1)
        self._clients: list[Client] = []

    def _add_clients(self, make: Callable[..., Client], **more: Any) -> None:
        for number in range(CLIENTS):
            rng = random.Random(self.plan.seed * 1000 + number)
            client = make(
                self.agent,
                self.model,
                self._gate,
                rng=rng,
                folder=self.folder,
                mark=self.mark,
                port=self._port if number == 0 else None,
                **more,
            )
            self._clients.append(client)

    # --- what is done is another thing for each kind of workload -------------------------------

    def _set_up(self) -> None:
        """Start the agent, and before it what it needs."""
        self.agent.start()

    @abstractmethod
    def _blows(self) -> Iterator[bool]:
        """Deal them, one by one; of each, whether a check must follow."""

    @abstractmethod
    def _inspect(self) -> None:
        """Check everything at a quiet moment. Raises InvariantError."""

    @abstractmethod
    def _require_given_back(self) -> None:
        """Once everything has been deleted. Raises InvariantError."""

    @abstractmethod
    def _require_nothing_left(self) -> None:
        """Once the agent has ended, too. Raises InvariantError."""

    @abstractmethod
    def _clean_up(self) -> None:
        """Once nothing of the agent lives, remove the rest."""

    def _processes(self) -> list[system.Process]:
        """Everything of this run that lives."""
        return system.mentioning(str(self.agent.data_dir))

    # --- the course of it ----------------------------------------------------------------------

    def run(self) -> None:
        """Raises InvariantError. Whatever happens, nothing of it is left afterwards."""
        try:
            self._run()
        except UnansweredError as error:
            raise InvariantError(
                "answer", f"the agent is up but does not answer: {error}"
            ) from error
        finally:
            self._gate.end()
            self.agent.kill()
            self._kill_left()
            self._clean_up()

    def _run(self) -> None:
        self._set_up()
        for client in self._clients:
            client.start()
        self._gate.open()
        for check_is_due in self._blows():
            self._raise_failures()
            if check_is_due or self._rng.random() < self.plan.check_share:
                self._check()
                self._gate.open()
        self._check()
        self._gate.end()
        self._empty()

    def _check(self) -> None:
        """With no operation under way; none begins afterwards, either."""
        self._gate.close()
        self._gate.drain(DRAIN_S)
        self._raise_failures()
        self.agent.require_alive()
        self._inspect()

    def _raise_failures(self) -> None:
        for client in self._clients:
            if client.failure is not None:
                raise client.failure

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
        self._require_given_back()
        if (code := self.agent.terminate()) != 0:
            raise InvariantError("answer", f"the agent ended with {code} when asked to")
        if not until(lambda: not self._processes(), timeout_s=EMPTY_WITHIN_S):
            words = ", ".join(map(system.describe, self._processes()[:5]))
            raise InvariantError("left_over", f"processes: {words}")
        self._require_nothing_left()

    def _kill_left(self) -> None:
        deadline = time.monotonic() + EMPTY_WITHIN_S
        while (left := self._processes()) and time.monotonic() < deadline:
            for process in left:
                process.kill()
            time.sleep(0.05)

    # --- afterwards ----------------------------------------------------------------------------

    def report(self, violation: InvariantError, replay: str) -> None:
        """Print the story of a violation, and the command line that leads to it again."""
        print(f"VIOLATION {violation}")
        subject = self.model.find(violation.workload or "")
        if subject is not None:
            print(f"  workload {subject.id}, {subject.sort.name}:")
            for line in subject.story:
                print(f"    {line}")
        plant = f" --plant {self.plan.plant}" if self.plan.plant else ""
        print(f"  replay: {replay} --seed {self.plan.seed} --kills {self.plan.kills}{plant}")
        print("  the agent's last lines:")
        for line in self.agent.log.splitlines()[-LOG_LINES:]:
            print(f"    {line}")
