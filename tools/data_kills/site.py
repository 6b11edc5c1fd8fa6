"""One agent, its clients, and whoever kills it."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

from tools.chaos.agent import AgentUnderTest, UnansweredError
from tools.chaos.model import InvariantError
from tools.chaos.threads import Gate
from tools.data_kills.checks import Checker
from tools.data_kills.clients import Changer, GatedThread, Reader
from tools.data_kills.model import ABSENT, Book

CHANGERS = 3
READERS = 1
CHECK_SHARE = 0.5
"""of the kills are followed by a check; else the work goes on over what the kill has left"""
START_KILL_SHARE = 0.15
"""of the starts are cut off as well, amid recovery and sweep; not counted as kills"""
LONGEST_LIFE_S = 0.8
LONGEST_START_S = 1.5
DRAIN_S = 60.0


class Site:
    """A campaign against one agent: `run` it, then look at the counts."""

    def __init__(self, number: int, seed: int, kills: int, folder: Path, plant: str | None) -> None:
        folder.mkdir(parents=True)
        self._wanted = kills
        self._rng = random.Random(seed * 1_000 + number)
        self.agent = AgentUnderTest(folder, plant=plant)
        self.book = Book()
        self._gate = Gate()
        self.checker = Checker(self.agent, self.book)
        self.kills = 0
        self.start_kills = 0
        self.enough = threading.Event()
        """set: do not kill any more"""
        self.log_lines: list[str] = []
        self._threads: list[GatedThread] = [
            Changer(f"c{index}", self.agent, self.book, self._gate, self._new_rng())
            for index in range(CHANGERS)
        ]
        self._threads += [
            Reader(self.agent, self.book, self._gate, self._new_rng()) for _ in range(READERS)
        ]

    def run(self) -> None:
        """Raises InvariantError. No process of it is left afterwards."""
        try:
            self._run()
        except UnansweredError as error:
            raise InvariantError("unanswered", str(error)) from error
        finally:
            self._gate.end()
            self.agent.kill()
            self.log_lines = self.agent.log.splitlines()

    def _new_rng(self) -> random.Random:
        return random.Random(self._rng.getrandbits(64))

    def _run(self) -> None:
        self.agent.start()
        for thread in self._threads:
            thread.start()
        while self.kills < self._wanted and not self.enough.is_set():
            self._gate.open()
            self._live_a_while()
            self._kill()
            self._start_again()
            if self._rng.random() < CHECK_SHARE or self._is_last():
                self.checker.check()
        self._empty()

    def _is_last(self) -> bool:
        return self.kills == self._wanted or self.enough.is_set()

    def _live_a_while(self) -> None:
        if self._rng.random() < 0.5:
            time.sleep(self._rng.uniform(0, LONGEST_LIFE_S))
        self._gate.await_operation(LONGEST_LIFE_S)
        time.sleep(self._rng.uniform(0, 0.05))
        self.agent.require_alive()

    def _kill(self) -> None:
        self.agent.kill()
        self.kills += 1
        self._gate.close()
        self._gate.drain(DRAIN_S)
        for thread in self._threads:
            if thread.failure is not None:
                raise thread.failure

    def _start_again(self) -> None:
        while self._rng.random() < START_KILL_SHARE:
            self.agent.launch()
            time.sleep(self._rng.uniform(0.2, LONGEST_START_S))
            self.agent.require_alive()
            self.agent.kill()
            self.start_kills += 1
        self.agent.start()

    def _empty(self) -> None:
        """Delete everything: no byte and no process may be left."""
        for thing in list(self.book.things.values()):
            path = f"/api/workloads/{thing.workload_id}"
            status, answer = self.agent.call("DELETE", path)
            if status != 200:
                raise InvariantError("answer", f"DELETE {path}: {status} {answer}")
            self.book.settle(thing, ABSENT, None)
        self.checker.check()
        if (code := self.agent.terminate()) != 0:
            raise InvariantError("answer", f"the agent ended with {code} when asked to")
