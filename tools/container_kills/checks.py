"""The invariants, checked at a quiet moment: by the agent's answers, the engine's, the witness."""

from __future__ import annotations

import re
import urllib.request
from typing import Any

from tests.support.engine import Engine, is_hidden

from tools.chaos.agent import AgentUnderTest
from tools.chaos.books import Books, Workloads
from tools.chaos.model import InvariantError, Model, Seen, Subject
from tools.chaos.sorts import SERVES
from tools.chaos.waiting import until
from tools.container_kills.foreign import Foreign
from tools.container_kills.sorts import SAYS, SERVED

SETTLED_WITHIN_S = 30.0
"""for what has no witness but the engine: a container is removed after its end was told"""
SHORT_ID = 12
_MOUNT = re.compile(r"(?<=unlinkat )/\S+/merged(?=: device or resource busy)")


class Checker(Books):
    """Holds what must be seen against what is."""

    reasons_of_disturbed = frozenset({"engine_restarted", "crash_loop"})

    def __init__(
        self, agent: AgentUnderTest, model: Model, engine: Engine, foreign: Foreign
    ) -> None:
        super().__init__(agent, model)
        self._engine = engine
        self._foreign = foreign
        self._stuck: set[str] = set()
        """containers, killed by then, that an engine which ended amid their start cannot remove"""

    def check(self) -> None:
        """Wait until the agent is quiet, then check everything. Raises InvariantError."""
        if not until(self._engine_found, timeout_s=SETTLED_WITHIN_S):
            raise InvariantError("engine", "the agent does not find it again")
        workloads = self.check_books()
        self._check_containers(workloads)
        for subject in self._model.all():
            if (item := workloads.get(subject.id)) is not None:
                self._check_state(subject, item)
        self._check_unrecorded()
        self._foreign.check()
        self.checks += 1

    @property
    def runs(self) -> int:
        """How many containers have begun, as they say."""
        return len(self._witness.runs)

    @property
    def litter(self) -> int:
        """How many containers the engine cannot remove any more."""
        return len(self._stuck)

    def _engine_found(self) -> bool:
        _, answer = self._agent.call("GET", "/api/nodes")
        return "container" in answer["nodes"][0]["kinds"]

    def _check_containers(self, workloads: Workloads) -> None:
        """A container for each that runs, and no other."""
        wanted = {
            f"cnet-{item['id']}.{item['attempt']}"
            for item in workloads.values()
            if item["status"] == "running"
        }
        if until(lambda: self.containers() == wanted, timeout_s=SETTLED_WITHIN_S):
            return
        for name in self.containers() - wanted:
            if not self._is_litter(name):
                raise InvariantError("orphan", f"container {name} is nobody's", _workload_of(name))
        for name in wanted - self.containers():
            raise InvariantError("dead", f"{name} runs, but has no container", _workload_of(name))

    def _is_litter(self, name: str) -> bool:
        """Whether the engine cannot remove it: as it ended it has left a mount that is in its way.

        If so it is left where it is.
        """
        found = _MOUNT.search(self._removal_error(name))
        if found is None or not is_hidden(found[0]):
            return False
        self._stuck.add(name)
        return True

    def _removal_error(self, name: str) -> str:
        """Why the engine cannot remove it; empty when it is gone."""
        try:
            self._engine.ask("DELETE", f"/containers/{name}", params={"force": "1"})
        except AssertionError as error:
            return "" if "No such container" in str(error) else str(error)
        return ""

    def containers(self) -> set[str]:
        """Names of all that the engine has and the tool has not made."""
        return self._engine.names() - self._foreign.names - self._stuck

    def _check_state(self, subject: Subject, item: dict[str, Any]) -> None:
        container = self._check_running(subject, item) if item["status"] == "running" else None
        self._check_end(subject, item)
        self._check_log(subject)
        now = Seen(
            status=item["status"],
            attempt=item["attempt"],
            process=container,
            exit_code=item.get("exit_code"),
            touched=subject.touched,
        )
        self._check_untouched(subject, now)

    def _check_running(self, subject: Subject, item: dict[str, Any]) -> str:
        run_id = f"{subject.id}.{item['attempt']}"
        details = self._engine.ask("GET", f"/containers/cnet-{run_id}/json")
        container: str = details["Id"]
        if not details["State"]["Running"] or item["container_id"] != container:
            told = f"{item['container_id']} is said to be it"
            raise InvariantError("dead", f"{run_id}: {details['State']}, {told}", subject.id)
        if not until(lambda: self._begun_by(run_id) is not None, timeout_s=SETTLED_WITHIN_S):
            raise InvariantError("dead", f"{run_id} runs, but has not begun", subject.id)
        if self._begun_by(run_id) != container[:SHORT_ID]:
            sentence = f"run {run_id} was begun by {self._begun_by(run_id)}, not {container}"
            raise InvariantError("dead", sentence, subject.id)
        if subject.sort.name == SERVES:
            self._check_answer(subject, item)
        return container

    def _begun_by(self, run_id: str) -> str | None:
        """Of which container a run says that it is; it may just have been started."""
        self._witness.read()
        words = self._witness.runs.get(run_id)
        return None if words is None else words[0]

    def _check_answer(self, subject: Subject, item: dict[str, Any]) -> None:
        """Its published port leads to it."""
        url = f"{item['endpoint']}/{SERVED.rpartition('/')[2]}"
        if not until(lambda: _answer(url) == subject.id, timeout_s=SETTLED_WITHIN_S):
            raise InvariantError("port", f"{url} is answered by {_answer(url)}", subject.id)

    def _check_log(self, subject: Subject) -> None:
        """What each run has said is there once, in order.

        An engine that ends may take along what it has not written yet.
        """
        if until(lambda: self._log_is_whole(subject), timeout_s=SETTLED_WITHIN_S):
            return
        wanted, found = self._said(subject), self._log(subject)
        raise InvariantError("log", f"it has said {wanted}, and its log has {found}", subject.id)

    def _log_is_whole(self, subject: Subject) -> bool:
        wanted, found = self._said(subject), self._log(subject)
        left = iter(wanted)
        return found == wanted or (subject.disturbed and all(line in left for line in found))

    def _said(self, subject: Subject) -> list[str]:
        return [f"{SAYS} {run_id}" for run_id in self._witness.of(subject.id)]

    def _log(self, subject: Subject) -> list[str]:
        _, answer = self._agent.call("GET", f"/api/workloads/{subject.id}/logs?lines=0")
        lines: list[str] = answer["logs"]
        return lines


def _answer(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            content: str = answer.read().decode().strip()
    except OSError as error:  # a program that has just been started does not listen yet
        return str(error)
    return content


def _workload_of(name: str) -> str:
    return name.removeprefix("cnet-").rpartition(".")[0]
