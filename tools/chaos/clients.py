"""Client threads: random submits, stops, restarts and deletes, whatever is killed meanwhile.

Each thread owns the workloads it has submitted, so that the order of operations on one workload is
known; many of them do not wait, so that they meet each other inside the agent all the same.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tools.chaos import model, sorts
from tools.chaos.agent import AgentUnderTest, UnansweredError
from tools.chaos.model import InvariantError, Model, Subject, new_id
from tools.chaos.threads import ClientThread, Gate, is_certain
from tools.chaos.waiting import until

MAX_ALIVE = 9  # workloads per thread, ended ones included
KILL_KNOWN_S = 5.0  # from a kill until the gate is closed


class Client(ClientThread[Subject]):
    """A client of the only agent."""

    pause_s = (0, 0.015)
    done = frozenset({200})
    """statuses of what was asked of a workload and will be done"""
    refusals = frozenset({"no_capacity", "port_taken"})
    """codes with which a submit may be refused"""

    def __init__(
        self,
        agent: AgentUnderTest,
        model: Model,
        gate: Gate,
        *,
        rng: random.Random,
        folder: Path,
        mark: str,
        port: int | None,
    ) -> None:
        super().__init__(model, gate, rng)
        self._agent = agent
        self._model = model
        self._folder = folder
        self._mark = mark
        self._port = port  # for a service of its own, or None

    def _step(self) -> None:
        self._mine = [subject for subject in self._mine if subject.wishes != {model.DELETED}]
        # Once deleted, an id is free for another workload, whose runs begin at 1 again.
        unsure = [
            subject
            for subject in self._mine
            if not subject.acknowledged and model.DELETED not in subject.wishes
        ]
        if unsure and self._rng.random() < 0.5:
            self.submit(self._rng.choice(unsure))  # the same id and body once more
        elif len(self._mine) < 3 or (len(self._mine) < MAX_ALIVE and self._rng.random() < 0.5):
            self._submit_new()
        else:
            subject = self._rng.choice(self._mine)
            operation = self._rng.choices((self.stop, self.restart, self.delete), (3, 3, 5))[0]
            operation(subject)

    def _submit_new(self) -> None:
        subject = self._new_subject()
        self._model.add(subject)
        self._mine.append(subject)
        self.submit(subject)

    def _new_subject(self) -> Subject:
        """What is to be submitted next."""
        workload_id = new_id(self._rng, self._mark)
        if self._may_serve():
            body = sorts.service_body(workload_id, port=self._port)
            return Subject(workload_id, sorts.SERVICE, body)
        sort = sorts.choose(self._rng)
        body = sorts.body(
            sort, workload_id, rng=self._rng, folder=str(self._folder), mark=self._mark
        )
        return Subject(workload_id, sort, body)

    def _may_serve(self) -> bool:
        """Now and then, when the port is not in use."""
        serving = any(subject.sort.name == sorts.SERVES for subject in self._mine)
        return self._port is not None and not serving and self._rng.random() < 0.1

    def submit(self, subject: Subject) -> None:
        """Submit it, or submit it again."""
        path = "/api/workloads" + self._rng.choice(("", "?wait=false"))
        answer = self._ask(subject, "submit", "POST", path, model.RUNNING, subject.body)
        if answer is None:
            return
        status, code, _ = answer
        if status in (200, 201):
            # Asked again, it may have been stopped or deleted in between only by this thread.
            self._model.acknowledge(subject, "submit", model.RUNNING)
        elif code in self.refusals:
            if "held by workload" in subject.story[-1]:
                self._port_held(subject)
            subject.wishes = {model.ABSENT}
            self._mine.remove(subject)
        else:
            raise _unexpected(subject, "submit", status, code)

    def _port_held(self, subject: Subject) -> None:
        """Its port is in use by a workload, says the agent."""
        raise InvariantError("port", "its earlier holder was deleted", subject.id)

    def _query(self, subject: Subject, operation: str) -> str:
        if operation != "delete":
            return self._rng.choice(("", "?wait=false"))
        # A service's port is asked for again soon: only a delete that waits has given it back.
        waits = subject.sort.name == sorts.SERVES or self._rng.random() < 0.5
        return "" if waits else "?wait=false"

    def _title(self, operation: str, path: str) -> str:
        return operation + (" (no wait)" if "wait=false" in path else "")

    def _act(self, subject: Subject, operation: str, method: str, path: str, wish: str) -> None:
        certain = is_certain(subject)
        answer = self._ask(subject, operation, method, path, wish)
        if answer is None:
            return
        status, code, _ = answer
        if status in self.done:
            self._model.acknowledge(subject, operation, wish)
        elif status == 404:
            if certain:
                raise InvariantError("lost", f"{operation}: the agent does not know it", subject.id)
            subject.wishes = {model.DELETED}
        elif status == 409 and code == "wrong_state":
            # Ended by itself, or being deleted because of an unanswered delete.
            if operation == "restart" and certain:
                raise _unexpected(subject, operation, status, code)
        else:
            raise _unexpected(subject, operation, status, code)

    def _send(
        self, subject: Subject, method: str, path: str, body: object
    ) -> tuple[int, dict[str, Any]]:
        return self._agent.call(method, path, body)

    def _leave_open(self, subject: Subject, title: str, wish: str, error: UnansweredError) -> None:
        """A kill must be the reason; the gate is closed then until there is another agent."""
        self._model.leave_open(subject, title, wish)
        if not until(lambda: self._gate.era != self._era, timeout_s=KILL_KNOWN_S):
            raise InvariantError("answer", f"nobody killed it: {error}", subject.id) from error


def _unexpected(subject: Subject, operation: str, status: int, code: str) -> InvariantError:
    return InvariantError("answer", f"{operation} was answered {status} {code}", subject.id)
