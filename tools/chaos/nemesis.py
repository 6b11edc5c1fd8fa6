"""What is killed, and when: cards of a shuffled deck, so that no sort of kill stays away long."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Any

from tools.chaos import system
from tools.chaos.agent import AgentUnderTest
from tools.chaos.model import InvariantError, Model
from tools.chaos.system import Process
from tools.chaos.threads import Gate
from tools.chaos.waiting import until

_SQUATTER = Path(__file__).with_name("squatter.py")
GONE_WITHIN_S = 20.0
NEWBORN_WITHIN_S = 1.0


class Card(StrEnum):
    """One blow."""

    AGENT = "agent"  # the agent alone
    AGENT_WHILE_STARTING = "agent while starting"  # and once more before it is up
    AGENT_AND_SHIM = "agent and shim"  # a shim while no agent looks
    AGENT_AND_SPAWNER = "agent and spawner"  # both in one go
    REUSED_PID = "reused pid"  # a shim while no agent looks, its pid given to a stranger
    SPAWNER = "spawner"  # under a living agent
    SHIM = "shim"  # under a living agent
    NEWBORN_SHIM = "newborn shim"  # within milliseconds of its fork


DECK = (
    *(Card.AGENT,) * 5,
    Card.AGENT_WHILE_STARTING,
    Card.AGENT_AND_SHIM,
    Card.AGENT_AND_SPAWNER,
    Card.REUSED_PID,
    Card.SPAWNER,
    Card.SHIM,
    *(Card.NEWBORN_SHIM,) * 2,
)


class Nemesis:
    """Deals the blows. After `strike` an agent is up again; `kills` counts single SIGKILLs."""

    def __init__(
        self, agent: AgentUnderTest, model: Model, gate: Gate, *, rng: random.Random, mark: str
    ) -> None:
        self._agent = agent
        self._model = model
        self._gate = gate
        self._rng = rng
        self._mark = mark
        self._deck: list[Card] = []
        self._bystanders: list[Process] = []
        self.kills = 0
        self.restarts = 0

    def strike(self) -> Card:
        """Wait for a random moment and deal the next blow."""
        if not self._deck:
            self._deck = list(DECK)
            self._rng.shuffle(self._deck)
        card = self._deck.pop()
        self._gate.await_moment(self._rng)
        self._agent.require_alive()
        if card is Card.SPAWNER:
            self._kill_spawner()
        elif card is Card.SHIM:
            self._kill_shim()
        elif card is Card.NEWBORN_SHIM:
            self._kill_newborn()
        else:
            self._kill_agent(card)
        return card

    def check_bystanders(self) -> None:
        """Strangers that got the pid of a dead shim must be left alone. Raises InvariantError."""
        for process in self._bystanders:
            if not process.lives():
                raise InvariantError(
                    "bystander", f"{process} had nothing to do with CNET and was killed"
                )
        self.clear()

    def clear(self) -> None:
        """End the strangers."""
        for process in self._bystanders:
            process.kill()
        self._bystanders = []

    def _kill_agent(self, card: Card) -> None:
        spawner = self._agent.spawner() if card is Card.AGENT_AND_SPAWNER else None
        self._agent.kill()
        self.kills += 1
        self._gate.close()
        if spawner is not None:
            spawner.kill()
            self.kills += 1
        if card in (Card.AGENT_AND_SHIM, Card.REUSED_PID):
            self._kill_shim(reuse=card is Card.REUSED_PID)
        if self._rng.random() < 0.3:
            time.sleep(self._rng.uniform(0, 0.3))
        if card is Card.AGENT_WHILE_STARTING:
            self._agent.launch()
            time.sleep(self._rng.uniform(0.2, 1.2))
            self._agent.kill()
            self.kills += 1
        self._agent.start()
        self.restarts += 1
        self._gate.open()

    def _kill_spawner(self) -> None:
        spawner = self._agent.spawner()
        if spawner is not None:
            spawner.kill()
            self.kills += 1

    def _kill_shim(self, *, reuse: bool = False) -> None:
        shims = self._agent.shims()
        if not shims:
            return
        workload_id, shim, record = self._rng.choice(shims)
        self._model.disturb(workload_id, f"its shim {shim.pid} killed, pid reused: {reuse}")
        shim.kill()
        self.kills += 1
        if reuse:
            self._await_end(workload_id, shim, main=record["pid"])
            bystander = self._squat(shim) if os.geteuid() == 0 else self._forge(record)
            if bystander is not None:
                self._model.tell_by_id(workload_id, f"pid {bystander.pid} is a stranger's now")
                self._bystanders.append(bystander)

    def _kill_newborn(self) -> None:
        """Kill the next shim that is forked, before or just after it has begun its command."""
        spawner = self._agent.spawner()
        if spawner is None:
            return
        known = set(system.children(spawner.pid))
        deadline = time.monotonic() + NEWBORN_WITHIN_S
        while time.monotonic() < deadline:
            for shim in set(system.children(spawner.pid)) - known:
                time.sleep(self._rng.uniform(0, 0.003))
                if shim.send(signal.SIGSTOP):  # so that it claims nothing in between
                    self._disturb_claimed(shim)
                    self.kills += shim.kill()
                return

    def _disturb_claimed(self, shim: Process) -> None:
        """Enter which workload it is for, if it has taken that upon itself yet."""
        for name in system.open_files(shim.pid):
            path = Path(name)
            if path.is_relative_to(self._agent.runs) and len(path.parents) > 2:
                self._model.disturb(path.parents[1].name, f"its newborn shim {shim.pid} killed")

    def _await_end(self, workload_id: str, shim: Process, *, main: int) -> None:
        gone = until(lambda: not Path(f"/proc/{shim.pid}").exists(), timeout_s=GONE_WITHIN_S)
        gone = gone and until(lambda: system.start_time(main) is None, timeout_s=GONE_WITHIN_S)
        if not gone:
            raise InvariantError(
                "left_over", f"{shim} or its command outlives SIGKILL", workload_id
            )

    def _squat(self, shim: Process) -> Process | None:
        """Give the dead shim's pid to a process that has nothing to do with it.

        None when the kernel has just done that itself.
        """
        command = [sys.executable, "-S", "-E", str(_SQUATTER), str(shim.pid), self._mark]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return system.incarnation(shim.pid)
        if "exists" in done.stderr:
            return None
        raise RuntimeError(f"no process with a chosen pid could be made: {done.stderr.strip()}")

    def _forge(self, record: dict[str, Any]) -> Process | None:
        """Without root no pid can be chosen: the dead shim's record gets a stranger's instead."""
        stranger = subprocess.Popen(
            ["sleep", "100000"], env={"CHAOS_BYSTANDER": self._mark}, start_new_session=True
        )
        workload_id, _, attempt = record["run_id"].rpartition(".")
        path = self._agent.runs / workload_id / attempt / "shim.json"
        path.write_text(json.dumps({**record, "shim_pid": stranger.pid}))
        return system.incarnation(stranger.pid)
