"""Threads that change objects of their own, and threads that read whatever there is."""

from __future__ import annotations

import base64
import json
import random
import threading
from abc import ABC, abstractmethod
from typing import Any
from urllib.parse import quote

from tools.chaos.agent import AgentUnderTest, UnansweredError
from tools.chaos.model import InvariantError
from tools.chaos.threads import Gate
from tools.data_kills.contents import SIZES, WEIGHTS, content, version_of
from tools.data_kills.model import ABSENT, EMPTIED, Book, State, Thing
from tools.data_kills.wire import Wire, form

KEPT_AT_MOST = 6
KILL_KNOWN_S = 15.0
FETCH_SHARE = 0.04
"""A program that stores something costs a second of a core: it is not asked for often."""
TREE = "tree"
"""Part of the key of a tree that nobody changes file by file: it has all its files, or none."""


class GatedThread(threading.Thread, ABC):
    """Does one thing at a time while the gate is open; `failure` is what ended it early."""

    def __init__(self, agent: AgentUnderTest, book: Book, gate: Gate, rng: random.Random) -> None:
        super().__init__(daemon=True)
        self._agent = agent
        self._book = book
        self._gate = gate
        self._rng = rng
        self._wire = Wire()
        self.failure: InvariantError | None = None

    def run(self) -> None:
        try:
            while True:
                with self._gate.operation() as era:
                    if era is None:
                        return
                    self._step(era)
        except InvariantError as violation:
            self.failure = violation
        finally:
            self._wire.close()

    @abstractmethod
    def _step(self, era: int) -> None:
        """One operation of the time between two kills that `era` numbers."""

    def _await_kill(self, era: int, error: UnansweredError) -> None:
        """Only a kill may leave a request without an answer."""
        if not self._gate.await_closing(era, KILL_KNOWN_S):
            raise InvariantError("unanswered", str(error))

    def _ask(
        self, method: str, path: str, body: bytes | None = None, media_type: str = "text/plain"
    ) -> tuple[int, bytes]:
        return self._wire.ask(self._agent.address, method, path, body, media_type)


class Changer(GatedThread):
    """Uploads, overwrites, deletes, stops and restarts."""

    def __init__(
        self, name: str, agent: AgentUnderTest, book: Book, gate: Gate, rng: random.Random
    ) -> None:
        super().__init__(agent, book, gate, rng)
        self._prefix = name
        self._number = 0
        self._fetched_in = -1

    def _step(self, era: int) -> None:
        try:
            if self._fetched_in != era and self._rng.random() < FETCH_SHARE:
                self._fetched_in = era
                self._fetch()
            else:
                self._change()
        except UnansweredError as error:
            self._await_kill(era, error)

    def _mine(self) -> list[Thing]:
        return [
            thing
            for thing in list(self._book.things.values())
            if thing.key.startswith(self._prefix) and thing.state is not None
        ]

    def _change(self) -> None:
        mine = self._mine()
        stored = [thing for thing in mine if isinstance(thing.state, frozenset)]
        if not stored or (len(mine) < KEPT_AT_MOST and self._rng.random() < 0.4):
            self._upload()
            return
        thing = self._rng.choice(mine)
        if thing.state == EMPTIED or TREE in thing.key or self._rng.random() < 0.3:
            self._remove(thing)
        else:
            self._change_file(thing)

    # --- new ones ------------------------------------------------------------------------------

    def _new(self, sort: str, paths: list[str], *, fetched: bool = False) -> Thing:
        self._number += 1
        key = f"{self._prefix}-{self._number}-{sort}-{len(paths)}"
        return Thing(key, fetched, frozenset((path, 1) for path in paths))

    def _size(self) -> int:
        return self._rng.choices(SIZES, WEIGHTS)[0]

    def _upload(self) -> None:
        if self._rng.random() < 0.4:
            thing = self._new("single", ["f"])
            files = [("file", "f", content(thing.key, "f", 1, self._size()))]
            config = {"access_mode": "readwrite"}
        else:
            sort = self._rng.choice([TREE, "open"])
            paths = [f"d{number % 3}/f{number}" for number in range(self._rng.randint(2, 12))]
            thing = self._new(sort, paths)
            files = [("files", p, content(thing.key, p, 1, self._size() // 8)) for p in paths]
            config = {"access_mode": "readonly" if sort == TREE else "readwrite"}
        body, media_type = form(config | {"data_key": thing.key}, files)
        self._do(thing, "upload", thing.source, "POST", "/api/workloads", body, media_type)

    def _fetch(self) -> None:
        """Something a program of its own stores: anew, or again."""
        fetched = [thing for thing in self._mine() if thing.fetched]
        if fetched and self._rng.random() < 0.6:
            thing = self._rng.choice(fetched)
            path = f"/api/workloads/{thing.workload_id}/restart?wait=false"
            self._do(thing, "restart", thing.source, "POST", path, done=False)
            return
        thing = self._new("fetched", ["c"], fetched=True)
        data = content(thing.key, "c", 1, self._rng.choice(SIZES[:3]))
        config = {
            "upload_method": "file",
            "data_key": thing.key,
            "filename": "c",
            "content_base64": base64.b64encode(data).decode(),
            "access_mode": "readwrite",
        }
        document = {"name": "fetched", "type": "data", "config": config}
        self._document(thing, document)

    def _document(self, thing: Thing, document: dict[str, Any]) -> None:
        self._book.begin(thing, "submit", thing.source)
        try:
            status, answer = self._wire.json(
                self._agent.address, "POST", "/api/workloads?wait=false", document
            )
        except UnansweredError:
            self._book.leave_open(thing, "submit")
            raise
        if status != 201:
            raise InvariantError("answer", f"submit of {thing.key}: {status} {answer}")
        thing.workload_id = answer["id"]
        self._book.acknowledge(thing, "submit", thing.source, done=False)

    # --- changes -------------------------------------------------------------------------------

    def _change_file(self, thing: Thing) -> None:
        state = thing.state
        assert isinstance(state, frozenset)
        files = dict(state)
        if files and self._rng.random() < 0.3:
            path = self._rng.choice(sorted(files))
            del files[path]
            self._do(
                thing, f"delete of {path}", frozenset(files.items()), "DELETE", _at(thing, path)
            )
            return
        new = not files or self._rng.random() < 0.3
        path = f"new/{thing.versions}" if new else self._rng.choice(sorted(files))
        thing.versions += 1
        files[path] = thing.versions
        body = content(thing.key, path, thing.versions, self._size())
        after = frozenset(files.items())
        self._do(thing, f"put of {path}", after, "PUT", _at(thing, path), body)

    def _remove(self, thing: Thing) -> None:
        workload = f"/api/workloads/{thing.workload_id}"
        ways: list[tuple[str, str, str, State]] = [("delete", "DELETE", workload, ABSENT)]
        if thing.state != EMPTIED:
            ways.append(("stop", "POST", f"{workload}/stop", EMPTIED))
            ways.append(("delete of the data", "DELETE", f"/api/data/{thing.key}", EMPTIED))
        title, method, path, after = self._rng.choice(ways)
        self._do(thing, title, after, method, path)

    def _do(
        self,
        thing: Thing,
        title: str,
        after: State,
        method: str,
        path: str,
        body: bytes | None = None,
        media_type: str = "application/octet-stream",
        *,
        done: bool = True,
    ) -> None:
        """Ask, and enter what the answer means. Raises UnansweredError, InvariantError."""
        self._book.begin(thing, title, after)
        try:
            status, answer = self._ask(method, path, body, media_type)
        except UnansweredError:
            self._book.leave_open(thing, title)
            raise
        if status not in {200, 201}:
            raise InvariantError("answer", f"{title} of {thing.key}: {status} {answer!r}")
        if title == "upload":
            thing.workload_id = _workload_id(answer)
        self._book.acknowledge(thing, title, after, done=done)
        if after == ABSENT:
            self._book.settle(thing, ABSENT, None)


class Reader(GatedThread):
    """Reads at random whatever is shown, and wants it whole."""

    def _step(self, era: int) -> None:
        try:
            self._look()
        except UnansweredError as error:
            self._await_kill(era, error)

    def _look(self) -> None:
        _, page = self._wire.json(self._agent.address, "GET", "/api/data?limit=1000")
        if not page["data"]:
            return
        key = self._rng.choice(page["data"])["data_key"]
        status, item = self._wire.json(self._agent.address, "GET", f"/api/data/{key}")
        if status == 404:
            return
        count = int(key.rpartition("-")[2])
        if TREE in key and not item["file_count"] == len(item["file_list"]) == count:
            raise InvariantError("half", f"{key} was seen with {item['file_count']} files")
        if not item["file_list"]:
            return
        path = self._rng.choice(item["file_list"])["path"]
        status, data = self._ask("GET", f"/api/data/{key}/{quote(path)}")
        if status == 404:
            return
        if status != 200 or version_of(key, path, data) is None:
            raise InvariantError("half", f"{key}/{path} was read as {status} {data[:100]!r}")
        self._book.note_read()


def _at(thing: Thing, path: str) -> str:
    return f"/api/data/{thing.key}/{path}"


def _workload_id(answer: bytes) -> str:
    found: str = json.loads(answer)["workload"]["id"]
    return found
