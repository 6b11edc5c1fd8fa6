"""Client threads: random submits, stops, restarts and deletes, whatever is killed meanwhile.

Each thread owns the workloads it has submitted, so that the order of operations on one workload is
known; many of them do not wait, so that they meet each other inside the agent all the same.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.chaos import model, sorts
from tools.chaos.agent import AgentUnderTest, UnansweredError
from tools.chaos.checks import until
from tools.chaos.model import InvariantError, Model, Subject

MAX_ALIVE = 9  # workloads per thread, ended ones included
TINY_PAUSE_S = 0.015
KILL_KNOWN_S = 5.0  # from a kill until the gate is closed


class Gate:
    """Lets operations through, or holds them back; counts those under way and announces each.

    `era` is another one after each closing, which follows on the heels of each kill of the agent.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._open = False
        self._ended = False
        self._inside = 0
        self._passed = 0
        self.era = 0

    @contextmanager
    def operation(self) -> Iterator[int | None]:
        """Inside the `with`, one operation is under way: its era, None once all is to end."""
        with self._condition:
            self._condition.wait_for(lambda: self._open or self._ended)
            self._inside += 1
            self._passed += 1
            self._condition.notify_all()
            era = None if self._ended else self.era
        try:
            yield era
        finally:
            with self._condition:
                self._inside -= 1
                self._condition.notify_all()

    def open(self) -> None:
        with self._condition:
            self._open = True
            self._condition.notify_all()

    def close(self) -> None:
        """Hold further operations back."""
        with self._condition:
            self._open = False
            self.era += 1

    def drain(self, timeout_s: float) -> None:
        """Wait until none is under way. Raises InvariantError `stuck`."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._inside == 0, timeout_s):
                raise InvariantError("stuck", f"an operation is unanswered after {timeout_s:g} s")

    def end(self) -> None:
        """Let every thread run out."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def await_operation(self, timeout_s: float) -> None:
        """Return as an operation begins, or after `timeout_s`."""
        with self._condition:
            passed = self._passed
            self._condition.wait_for(lambda: self._passed != passed, timeout_s)


class Client(threading.Thread):
    """One client. `failure` is what ended it early."""

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
        super().__init__(daemon=True)
        self._agent = agent
        self._model = model
        self._gate = gate
        self._rng = rng
        self._folder = folder
        self._mark = mark
        self._port = port  # for a service of its own, or None
        self._mine: list[Subject] = []
        self._era = 0
        self.failure: InvariantError | None = None

    def run(self) -> None:
        try:
            while True:
                with self._gate.operation() as era:
                    if era is None:
                        return
                    self._era = era
                    self._step()
                time.sleep(self._rng.uniform(0, TINY_PAUSE_S))
        except InvariantError as violation:
            self.failure = violation

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
        workload_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        serving = any(subject.sort is sorts.SERVICE for subject in self._mine)
        if self._port is not None and not serving and self._rng.random() < 0.1:
            body = sorts.service_body(workload_id, port=self._port)
            subject = Subject(workload_id, sorts.SERVICE, body)
        else:
            sort = sorts.choose(self._rng)
            body = sorts.body(
                sort, workload_id, rng=self._rng, folder=str(self._folder), mark=self._mark
            )
            subject = Subject(workload_id, sort, body)
        self._model.add(subject)
        self._mine.append(subject)
        self.submit(subject)

    def submit(self, subject: Subject) -> None:
        """Submit it, or submit it again."""
        path = "/api/workloads" + self._rng.choice(("", "?wait=false"))
        answer = self._ask(subject, "submit", "POST", path, model.RUNNING, subject.body)
        if answer is None:
            return
        status, code = answer
        if status in (200, 201):
            # Asked again, it may have been stopped or deleted in between only by this thread.
            self._model.acknowledge(subject, "submit", model.RUNNING)
        elif status == 409 and code in ("no_capacity", "port_taken"):
            if "held by workload" in subject.story[-1]:
                raise InvariantError("port", "its earlier holder was deleted", subject.id)
            subject.wishes = {model.ABSENT}
            self._mine.remove(subject)
        else:
            raise _unexpected(subject, "submit", status, code)

    def stop(self, subject: Subject) -> None:
        """Stop it; a workload that has ended by itself refuses."""
        path = f"/api/workloads/{subject.id}/stop" + self._rng.choice(("", "?wait=false"))
        self._act(subject, "stop", "POST", path, model.STOPPED)

    def restart(self, subject: Subject) -> None:
        """Start it again."""
        path = f"/api/workloads/{subject.id}/restart" + self._rng.choice(("", "?wait=false"))
        self._act(subject, "restart", "POST", path, model.RUNNING)

    def delete(self, subject: Subject) -> None:
        """Delete it."""
        # A service's port is asked for again soon: only a delete that waits has given it back.
        waits = subject.sort is sorts.SERVICE or self._rng.random() < 0.5
        path = f"/api/workloads/{subject.id}" + ("" if waits else "?wait=false")
        self._act(subject, "delete", "DELETE", path, model.DELETED)

    def _act(self, subject: Subject, operation: str, method: str, path: str, wish: str) -> None:
        certain = subject.acknowledged and not subject.wishes & {model.ABSENT, model.DELETED}
        answer = self._ask(subject, operation, method, path, wish)
        if answer is None:
            return
        status, code = answer
        if status == 200:
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

    def _ask(
        self,
        subject: Subject,
        operation: str,
        method: str,
        path: str,
        wish: str,
        body: object = None,
    ) -> tuple[int, str] | None:
        """Status and error code; None when the answer was lost, which is then entered as such."""
        name = operation + (" (no wait)" if "wait=false" in path else "")
        self._model.begin(subject, name)
        try:
            status, answer = self._agent.call(method, path, body)
        except UnansweredError as error:
            self._model.leave_open(subject, name, wish)
            if not until(lambda: self._gate.era != self._era, timeout_s=KILL_KNOWN_S):
                raise InvariantError("answer", f"nobody killed it: {error}", subject.id) from error
            return None  # and wait behind the gate for the next agent
        if status >= 400:
            self._model.refuse(subject, name, f"{status} {answer.get('details')}")
        return status, str(answer.get("error"))


def _unexpected(subject: Subject, operation: str, status: int, code: str) -> InvariantError:
    return InvariantError("answer", f"{operation} was answered {status} {code}", subject.id)
