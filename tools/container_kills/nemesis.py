"""Whoever kills the agent and ends the engine, in an order that the seed decides."""

from __future__ import annotations

import random
import time
from enum import StrEnum
from itertools import cycle, islice

from tests.support.engine import Engine

from tools.chaos.agent import AgentUnderTest
from tools.chaos.model import Model
from tools.chaos.threads import Gate


class Blow(StrEnum):
    """What is done, and undone again, before the clients go on."""

    AGENT = "agent"  # killed
    AGENT_WHILE_STARTING = "agent while starting"  # and once more before it is up
    ENGINE_STOPPED = "engine stopped"  # in good order, under a living agent
    ENGINE_KILLED = "engine killed"  # under a living agent
    ENGINE_WHILE_AGENT_IS_DEAD = "engine while the agent is dead"
    AGENT_WHILE_ENGINE_IS_AWAY = "agent while the engine is away"

    @property
    def ends_engine(self) -> bool:
        return self not in {Blow.AGENT, Blow.AGENT_WHILE_STARTING}

    @property
    def kills(self) -> int:
        """How often it kills the agent."""
        if self in {Blow.ENGINE_STOPPED, Blow.ENGINE_KILLED}:
            return 0
        return 2 if self is Blow.AGENT_WHILE_STARTING else 1


_OF_ENGINE = tuple(blow for blow in Blow if blow.ends_engine)
START_KILL_SHARE = 0.2
LONGEST_START_S = 1.5
LONGEST_ABSENCE_S = 1.5


def blows(kills: int, engine_restarts: int, rng: random.Random) -> list[Blow]:
    """At least that many of each, shuffled."""
    first = rng.randrange(len(_OF_ENGINE))
    drawn = list(islice(cycle(_OF_ENGINE), first, first + engine_restarts))
    while sum(blow.kills for blow in drawn) < kills:
        again = rng.random() < START_KILL_SHARE
        drawn.append(Blow.AGENT_WHILE_STARTING if again else Blow.AGENT)
    rng.shuffle(drawn)
    return drawn


class Nemesis:
    """After `strike` agent and engine are up again."""

    def __init__(
        self,
        agent: AgentUnderTest,
        engine: Engine,
        model: Model,
        gate: Gate,
        *,
        rng: random.Random,
    ) -> None:
        self._agent = agent
        self._engine = engine
        self._model = model
        self._gate = gate
        self._rng = rng
        self.kills = 0
        self.engine_restarts = 0

    def strike(self, blow: Blow) -> None:
        """At a random moment under load."""
        self._gate.await_moment(self._rng)
        self._agent.require_alive()
        match blow:
            case Blow.AGENT | Blow.AGENT_WHILE_STARTING:
                self._kill_agent()
                if blow is Blow.AGENT_WHILE_STARTING:
                    self._agent.launch()
                    time.sleep(self._rng.uniform(0.2, LONGEST_START_S))
                    self._kill_agent()
                self._start_agent()
            case Blow.ENGINE_STOPPED | Blow.ENGINE_KILLED:
                self._end_engine(killed=blow is Blow.ENGINE_KILLED)
                self._pause()
                self._start_engine()
            case Blow.ENGINE_WHILE_AGENT_IS_DEAD:
                self._kill_agent()
                self._end_engine(killed=self._rng.random() < 0.5)
                self._start_engine()
                self._start_agent()
            case Blow.AGENT_WHILE_ENGINE_IS_AWAY:
                self._end_engine(killed=self._rng.random() < 0.5)
                self._pause()
                self._kill_agent()
                self._start_agent()
                self._pause()
                self._start_engine()

    def _pause(self) -> None:
        time.sleep(self._rng.uniform(0, LONGEST_ABSENCE_S))

    def _kill_agent(self) -> None:
        self._agent.kill()
        self.kills += 1
        self._gate.close()

    def _start_agent(self) -> None:
        self._agent.start()
        self._gate.open()

    def _end_engine(self, *, killed: bool) -> None:
        how = "killed" if killed else "stopped"
        self._disturb_all(f"the engine is {how}")
        (self._engine.kill if killed else self._engine.stop)()

    def _start_engine(self) -> None:
        self._engine.start()
        self.engine_restarts += 1
        self._disturb_all("the engine is back")

    def _disturb_all(self, what: str) -> None:
        for subject in self._model.all():
            if not subject.gone:
                self._model.disturb(subject.id, what)
