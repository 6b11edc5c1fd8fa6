"""Client threads: random submits, stops, restarts and deletes at any agent, whatever is broken.

Each thread owns the workloads it has submitted, so that the order of operations on one workload is
known. What an agent does not answer stays open until the next check.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Collection, Mapping
from typing import Any

from tools.chaos.agent import UnansweredError
from tools.chaos.threads import ClientThread, Gate, is_certain
from tools.partitions import model
from tools.partitions.evidence import Evidence
from tools.partitions.member import Member
from tools.partitions.model import InvariantError, Model, Subject

MAX_ALIVE = 7  # workloads per thread, ended ones included
CORES = (0.1, 0.25, 0.5, 1.0)
BYTES = (24 * 1024**2, 32 * 1024**2 + 1, 48 * 1024**2)
STRATEGIES = (None, None, "best_fit", "least_loaded", "spread")


class Client(ClientThread[Subject]):
    """A client of all agents; `candidates` says per agent which nodes it may give work to."""

    pause_s = (0.02, 0.3)

    def __init__(
        self,
        members: Mapping[str, Member],
        candidates: Mapping[str, Collection[str]],
        model_: Model,
        gate: Gate,
        evidence: Evidence,
        *,
        rng: random.Random,
    ) -> None:
        super().__init__(model_, gate, rng)
        self._members = members
        self._candidates = candidates
        self._model = model_
        self._evidence = evidence

    def _step(self) -> None:
        self._mine = [subject for subject in self._mine if subject.wishes != {model.DELETED}]
        known = [subject for subject in self._mine if subject.wishes == {model.RUNNING}]
        unsure = [s for s in self._mine if s.wishes == {model.ABSENT, model.RUNNING}]
        chance = self._rng.random()
        if unsure and chance < 0.4:
            self.submit(self._rng.choice(unsure))  # the same id and body once more
        elif known and chance < 0.1:
            self.submit(self._rng.choice(known))  # asked twice, started once
        elif len(self._mine) < 3 or (len(self._mine) < MAX_ALIVE and self._rng.random() < 0.5):
            subject = self._new_subject()
            self._model.add(subject)
            self._mine.append(subject)
            self.submit(subject)
        else:
            subject = self._rng.choice(self._mine)
            self._rng.choices((self.stop, self.restart, self.delete), (3, 2, 4))[0](subject)

    def _new_subject(self) -> Subject:
        rng = self._rng
        workload_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        owner = rng.choice(sorted(self._members))
        lasting = rng.random() < 0.8
        body: dict[str, object] = {
            "id": workload_id,
            "name": f"partitions-{workload_id[:8]}",
            "type": "process",
            "config": self._evidence.config(lasts_s=None if lasting else rng.uniform(0.1, 3)),
            "requirements": {"cpu": rng.choice(CORES), "memory": rng.choice(BYTES)},
            "on_node_loss": rng.choice(("wait", "reschedule")),
            "stop_grace_s": 1,
        }
        if rng.random() < 0.35:
            body["node"] = rng.choice(sorted(self._candidates[owner]))
        if (strategy := rng.choice(STRATEGIES)) is not None:
            body["strategy"] = strategy
        return Subject(workload_id, owner, body, lasting)

    def submit(self, subject: Subject) -> None:
        """Submit it, or submit it again."""
        path = "/api/workloads?wait=false"
        answer = self._ask(subject, "submit", "POST", path, model.RUNNING, subject.body)
        if answer is None:
            return
        status, code, workload_id = answer
        if status not in (200, 201):
            raise _unexpected(subject, "submit", status, code)
        if workload_id != subject.id:
            raise InvariantError("identity", f"asked for by id, named {workload_id}", subject.id)
        self._model.acknowledge(subject, "submit", model.RUNNING)

    def _query(self, subject: Subject, operation: str) -> str:
        return "?wait=false"

    def _act(self, subject: Subject, operation: str, method: str, path: str, wish: str) -> None:
        certain = is_certain(subject)
        answer = self._ask(subject, operation, method, path, wish)
        if answer is None:
            return
        status, code, _ = answer
        if status in (200, 202):
            self._model.acknowledge(subject, operation, wish)
        elif status == 404:
            if certain:
                raise InvariantError(
                    "lost", f"{operation}: {subject.owner} does not know it", subject.id
                )
            subject.wishes = subject.wishes & {model.ABSENT} or {model.DELETED}
        elif status == 503:
            self._model.leave_open(subject, operation, wish, f"503 {code}")
        elif status != 409 or code != "wrong_state":
            raise _unexpected(subject, operation, status, code)

    def _send(
        self, subject: Subject, method: str, path: str, body: object
    ) -> tuple[int, dict[str, Any]]:
        return self._members[subject.owner].call(method, path, body)

    def _leave_open(self, subject: Subject, title: str, wish: str, error: UnansweredError) -> None:
        self._model.leave_open(subject, title, wish, str(error))


def _unexpected(subject: Subject, operation: str, status: int, code: str) -> InvariantError:
    return InvariantError(
        "answer", f"{operation} was answered {status} {code} by {subject.owner}", subject.id
    )
