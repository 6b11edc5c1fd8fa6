"""The invariants, checked once all is healed: by every agent's answers, /proc and the witnesses."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tools.partitions import model
from tools.partitions.evidence import Evidence, Run
from tools.partitions.member import exact
from tools.partitions.model import InvariantError, Model, Subject
from tools.partitions.world import World

QUIET_WITHIN_S = 45.0
LOOK_AGAIN_S = 0.05

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What every agent says, looked at one after the other."""

    workloads: Mapping[str, Mapping[str, JsonObject]]
    used: Mapping[str, Mapping[str, int]]
    nodes: Mapping[str, Mapping[str, JsonObject]]
    runs: Mapping[str, list[Run]]

    def owned(self, subject: Subject) -> JsonObject | None:
        """How the owner shows it."""
        return self.workloads[subject.owner].get(subject.id)


class Checker:
    """Holds what must be seen against what is."""

    def __init__(
        self,
        world: World,
        model_: Model,
        evidence: Evidence,
        candidates: Mapping[str, Iterable[str]],
    ) -> None:
        self._world = world
        self._model = model_
        self._evidence = evidence
        self._candidates = {name: frozenset(nodes) for name, nodes in candidates.items()}
        self._places = {world.network.inode(name): name for name in world.members}
        self.checks = 0

    def check(self) -> float:
        """Wait until everything is as it must be; the seconds that took. Raises InvariantError."""
        began = time.monotonic()
        while True:
            seen = self._look()
            self._check_evidence(seen)
            self._check_presence(seen)
            wrong = next(self._wrong(seen), None)
            if wrong is None:
                break
            if time.monotonic() - began > QUIET_WITHIN_S:
                raise wrong
            time.sleep(LOOK_AGAIN_S)
        self._narrow(seen)
        self.checks += 1
        return time.monotonic() - began

    def _look(self) -> Snapshot:
        members = self._world.members
        return Snapshot(
            workloads={name: member.workloads() for name, member in members.items()},
            used={name: member.used() for name, member in members.items()},
            nodes={name: member.nodes() for name, member in members.items()},
            runs={key: self._evidence.runs(key) for key in self._evidence.workloads()},
        )

    # --- what must hold at any time ------------------------------------------------------------

    def _check_evidence(self, seen: Snapshot) -> None:
        for workload_id, runs in seen.runs.items():
            if (overlap := self._evidence.overlap_s(workload_id)) is not None:
                raise InvariantError(
                    "overlap",
                    f"two runs of it were alive at once for {overlap:.3f} s: {self._told(runs)}",
                    workload_id,
                )
            subject = self._model.find(workload_id)
            if subject is None or subject.reschedules:
                continue  # after a loss its owner cannot know how often it has run elsewhere
            begun = Counter((run.run_id, run.place) for run in runs)
            if doubled := [run_id for (run_id, _), times in begun.items() if times > 1]:
                raise InvariantError("doubled", f"run {doubled[0]} began twice", workload_id)
            if len(runs) > subject.starts:
                raise InvariantError(
                    "doubled",
                    f"asked for {subject.starts} times, begun {len(runs)} times: "
                    f"{self._told(runs)}",
                    workload_id,
                )

    def _check_presence(self, seen: Snapshot) -> None:
        for subject in self._model.all():
            if seen.owned(subject) is None and not subject.wishes & {model.ABSENT, model.DELETED}:
                raise InvariantError(
                    "lost",
                    f"{subject.owner} does not know it; wanted: {sorted(subject.wishes)}",
                    subject.id,
                )

    # --- what must come about ------------------------------------------------------------------

    def _wrong(self, seen: Snapshot) -> Iterator[InvariantError]:
        for subject in self._model.all():
            yield from self._wrong_state(subject, seen)
        yield from self._wrong_records(seen)
        yield from self._wrong_processes(seen)
        yield from self._wrong_quota(seen)

    def _wrong_state(self, subject: Subject, seen: Snapshot) -> Iterator[InvariantError]:
        item = seen.owned(subject)
        if item is None:
            return
        words = _words(item)
        if item["desired"] == "deleted" or not subject.wishes & {model.RUNNING, model.STOPPED}:
            yield InvariantError("undeleted", f"it is still there: {words}", subject.id)
        elif item["status"] == "stopped":
            if model.STOPPED not in subject.wishes:
                yield InvariantError("status", f"{words}; nobody stopped it", subject.id)
        elif item["status"] == "completed":
            if subject.lasting:
                yield InvariantError("status", f"{words}; it would run for ever", subject.id)
        elif model.RUNNING not in subject.wishes:
            yield InvariantError("unstopped", words, subject.id)
        elif item["status"] == "running":
            yield from self._wrong_run(subject, item, seen)
        elif item["status"] == "pending" and item["status_reason"] == "no_capacity":
            yield from self._starved(subject, seen)
        else:
            yield InvariantError("status", words, subject.id)

    def _wrong_run(
        self, subject: Subject, item: JsonObject, seen: Snapshot
    ) -> Iterator[InvariantError]:
        alive = [run for run in seen.runs.get(subject.id, ()) if run.lives()]
        where = [(self._places.get(run.place), run.process.pid) for run in alive]
        if not subject.lasting:
            yield InvariantError("status", "it should have ended by now", subject.id)
        elif where != [(item["node_id"], item.get("process_pid"))]:
            yield InvariantError(
                "whereabouts",
                f"{subject.owner} says on {item['node_id']} as {item.get('process_pid')}; "
                f"alive: {where}",
                subject.id,
            )
        elif item["status_reason"] is not None:
            yield InvariantError("status", _words(item), subject.id)

    def _starved(self, subject: Subject, seen: Snapshot) -> Iterator[InvariantError]:
        needed = exact(subject.body["requirements"])
        nodes = {subject.node} if subject.node else self._candidates[subject.owner]
        for name in sorted(nodes):
            available = exact(seen.nodes[name][name]["available"])
            if all(needed[key] <= available[key] for key in needed):
                yield InvariantError(
                    "starved", f"it waits although {name} has {available}", subject.id
                )

    def _wrong_records(self, seen: Snapshot) -> Iterator[InvariantError]:
        """An agent keeps nothing whose owner does not know that it is there."""
        for name, items in seen.workloads.items():
            for workload_id, item in items.items():
                owner = item.get("owner") or name
                if owner == name:
                    if self._model.find(workload_id) is None:
                        yield InvariantError("stranger", f"{name} has {_words(item)}", workload_id)
                    continue
                shown = seen.workloads[owner].get(workload_id)
                if shown is None or shown["node_id"] != name:
                    yield InvariantError(
                        "left_over",
                        f"{name} keeps it for {owner}: {_words(item)}; there it is "
                        f"{None if shown is None else _words(shown)}",
                        workload_id,
                    )

    def _wrong_processes(self, seen: Snapshot) -> Iterator[InvariantError]:
        """Nothing runs that nobody wants."""
        for workload_id, runs in seen.runs.items():
            alive = [run for run in runs if run.lives()]
            if not alive:
                continue
            subject = self._model.find(workload_id)
            item = None if subject is None else seen.owned(subject)
            if item is None or item["status"] != "running":
                yield InvariantError(
                    "orphan",
                    f"{self._told(alive)} lives; the owner says "
                    f"{None if item is None else _words(item)}",
                    workload_id,
                )

    def _wrong_quota(self, seen: Snapshot) -> Iterator[InvariantError]:
        held = {name: Counter(cpu=0, memory=0, storage=0) for name in self._world.members}
        for subject in self._model.all():
            item = seen.owned(subject)
            if item is not None and item["status"] == "running":
                held[item["node_id"]].update(exact(subject.body["requirements"]))
        for name, counted in held.items():
            if seen.used[name] != dict(counted):
                yield InvariantError(
                    "quota", f"{name} says {seen.used[name]}; what runs adds up to {dict(counted)}"
                )
        for observer, nodes in seen.nodes.items():
            for name, node in nodes.items():
                if name in held and exact(node["used"]) != dict(held[name]):
                    yield InvariantError(
                        "news",
                        f"{observer} sees {exact(node['used'])} used on {name}; what runs there "
                        f"adds up to {dict(held[name])}",
                    )

    def _narrow(self, seen: Snapshot) -> None:
        """What was open is known now."""
        for subject in self._model.all():
            item = seen.owned(subject)
            if item is None:
                if subject.wishes != {model.DELETED}:
                    self._model.tell(subject, "is not there")
                subject.wishes = {model.DELETED}
                self._model.forget(subject.id)
                continue
            stopped = item["status"] == "stopped"
            subject.wishes = {model.STOPPED if stopped else model.RUNNING}
            subject.acknowledged = True
            self._model.tell(subject, f"checked: {_words(item)}")

    def _told(self, runs: Iterable[Run]) -> str:
        return "; ".join(
            f"{run.run_id} on {self._places.get(run.place)} as {run.process.pid} from "
            f"{run.began:.3f} to {run.last:.3f}"
            for run in runs
        )


def _words(item: JsonObject) -> str:
    return (
        f"{item['status']} on {item['node_id']} ({item['status_reason']}: {item['status_detail']}; "
        f"desired {item['desired']})"
    )
