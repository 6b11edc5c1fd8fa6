"""What must hold of an agent that has just been started again, and is left alone."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tools.chaos.agent import AgentUnderTest
from tools.chaos.model import InvariantError
from tools.chaos.waiting import until
from tools.data_kills.contents import version_of
from tools.data_kills.inspection import faults, hidden_files
from tools.data_kills.model import ABSENT, EMPTIED, Book, Files, State, Thing
from tools.data_kills.wire import Wire

SETTLED_WITHIN_S = 60.0
SWEPT_WITHIN_S = 20.0
DONE = {"completed", "failed", "stopped"}


class Checker:
    """Compares what the agent says, what it serves and what lies on its disk with the book."""

    def __init__(self, agent: AgentUnderTest, book: Book) -> None:
        self._agent = agent
        self._book = book
        self.checks = 0

    def check(self) -> None:
        """Raises InvariantError."""
        self.checks += 1
        if not until(self._settled, timeout_s=SETTLED_WITHIN_S):
            raise InvariantError("stuck", f"workloads do not end: {self._unsettled()}")
        wire = Wire()
        try:
            self._compare(wire)
        finally:
            wire.close()
        self._look_at_the_disk()

    def _settled(self) -> bool:
        return not self._unsettled()

    def _unsettled(self) -> list[str]:
        """What an agent that was killed still has to finish: fetches, stops and deletions."""
        return [
            item["id"]
            for item in self._agent.workloads().values()
            if item["status"] not in DONE
            or item["desired"] == "deleted"
            or (item["desired"] == "stopped" and item.get("file_list") is not None)
        ]

    # --- what it says and serves ---------------------------------------------------------------

    def _compare(self, wire: Wire) -> None:
        records = {item["config"]["data_key"]: item for item in self._agent.workloads().values()}
        objects = self._objects(wire)
        if strangers := (records.keys() | objects.keys()) - self._book.things.keys():
            raise InvariantError("resurrected", f"deleted or never made: {sorted(strangers)}")
        total = 0
        for thing in list(self._book.things.values()):
            record, item = records.get(thing.key), objects.get(thing.key)
            found = self._state(wire, thing, record, item)
            if found not in thing.may_be:
                raise InvariantError("lost", _described(thing, found))
            total += item["size"] if item is not None else 0
            self._book.settle(thing, found, record["id"] if record else None)
        used = self._agent.used()
        if used != {"cpu": 0, "memory": 0, "storage": total}:
            raise InvariantError("quota", f"{used} are in use, {total} bytes are stored")

    def _objects(self, wire: Wire) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        cursor = ""
        while True:
            path = f"/api/data?limit=1000&cursor={quote(cursor)}"
            _, page = wire.json(self._agent.address, "GET", path)
            found |= {item["data_key"]: item for item in page["data"]}
            if page["next_cursor"] is None:
                return found
            cursor = page["next_cursor"]

    def _state(
        self,
        wire: Wire,
        thing: Thing,
        record: dict[str, Any] | None,
        item: dict[str, Any] | None,
    ) -> State:
        if record is None:
            if item is not None:
                raise InvariantError("unrecorded", f"{thing.key} has data and no workload")
            return ABSENT
        emptied = record["status_reason"] == "result_deleted"
        if emptied != (item is None):
            what = f"{record['status']}, {record['status_reason']}, {record.get('status_detail')}"
            raise InvariantError(
                "unrecorded", f"{what}; its data: {item}; {_described(thing, ABSENT)}"
            )
        if item is None:
            return EMPTIED
        if item["workload_id"] != record["id"] or record["status"] != "completed":
            raise InvariantError("unrecorded", f"{thing.key}: {record['status']}, {item}")
        return self._files(wire, thing, item)

    def _files(self, wire: Wire, thing: Thing, item: dict[str, Any]) -> Files:
        """Read them all."""
        _, shown = wire.json(self._agent.address, "GET", f"/api/data/{thing.key}")
        found: dict[str, int] = {}
        size = 0
        for file in shown["file_list"]:
            path = f"/api/data/{thing.key}/{quote(file['path'])}"
            status, data = wire.ask(self._agent.address, "GET", path)
            version = version_of(thing.key, file["path"], data)
            if status != 200 or version is None or len(data) != file["size"]:
                raise InvariantError("half", f"{path}: {status}, {len(data)} bytes; {file}")
            found[file["path"]] = version
            size += len(data)
        if (size, len(found)) != (item["size"], item["file_count"]):
            raise InvariantError("half", f"{thing.key} has {size} bytes in {len(found)}: {item}")
        return frozenset(found.items())

    # --- what lies there -----------------------------------------------------------------------

    def _look_at_the_disk(self) -> None:
        """Start-up sweeps go on while the agent answers: they have a while."""
        found: list[str] = []

        def sound() -> bool:
            found[:] = self._leftovers()
            return not found

        if not until(sound, timeout_s=SWEPT_WITHIN_S):
            raise InvariantError("left_over", "; ".join(found[:5]))

    def _leftovers(self) -> list[str]:
        store = self._agent.data_dir / "data"
        found = faults(store)
        found += [f"staged: {name}" for name in hidden_files(store)]
        ids = self._agent.workloads().keys()
        found += [
            f"runs/{path.name}"
            for path in self._agent.runs.iterdir()
            if path.is_dir() and path.name not in ids
        ]
        return found


def _described(thing: Thing, found: State) -> str:
    allowed = "; or ".join(map(_words, thing.may_be))
    story = ", ".join(thing.story[-12:])
    return f"{thing.key} is {_words(found)}; it must be {allowed}; {story}"


def _words(state: State) -> str:
    return state if isinstance(state, str) else str(dict(sorted(state)))
