"""Starts `tests.storage.worker` and keeps what it acknowledged."""

from __future__ import annotations

import array
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tools.data_kills.inspection import faults

from cnet.errors import NotFoundError
from cnet.storage import open_store
from tests.contracts.storage import content
from tests.support.agents import wait_until

TIMEOUT_S = 60


@dataclass
class Ledger:
    """What each key may hold: what was acknowledged last, or what was being done."""

    acknowledged: dict[str, str | None] = field(default_factory=dict)
    under_way: dict[str, str | None] = field(default_factory=dict)
    count: int = 0

    def note(self, line: dict[str, str | None]) -> None:
        key = line.get("key")
        if key is None:
            return
        if "want" in line:
            self.under_way[key] = line["want"]
        else:
            self.acknowledged[key] = self.under_way.pop(key)
            self.count += 1

    def allowed(self) -> dict[str, set[str | None]]:
        keys = self.acknowledged.keys() | self.under_way.keys()
        return {
            key: {self.acknowledged.get(key)}
            | ({self.under_way[key]} if key in self.under_way else set())
            for key in keys
        }


class Worker:
    """The program, and a thread that reads what it says."""

    def __init__(self, *arguments: str) -> None:
        self.ledger = Ledger()
        self.said = threading.Condition()
        self.lines = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.storage.worker", *arguments], stdout=subprocess.PIPE
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_lines(self, number: int) -> None:
        """Until it has said that many lines in all."""
        with self.said:
            if not self.said.wait_for(lambda: self.lines >= number or self._ended, TIMEOUT_S):
                raise TimeoutError(f"{self.lines} lines, not {number}")
        if self.lines < number:
            raise RuntimeError(f"the worker ended with {self.process.wait()}")

    @contextmanager
    def standing_still(self) -> Iterator[Ledger]:
        """Stop it: inside, nothing of it runs. Gives what it had said by then, to the last line."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            wait_until(self._is_stopped)
            with self.said:
                if not self.said.wait_for(self._all_is_read, TIMEOUT_S):
                    raise TimeoutError("its output is not read")
                said = Ledger(dict(self.ledger.acknowledged), dict(self.ledger.under_way))
            yield said
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _is_stopped(self) -> bool:
        tasks = list(Path(f"/proc/{self.process.pid}/task").iterdir())
        states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks]
        return set(states) == {"T"}

    def _all_is_read(self) -> bool:
        """To be asked with `said` held: what has been read has been noted, too."""
        assert self.process.stdout is not None
        waiting = array.array("i", [0])
        fcntl.ioctl(self.process.stdout, termios.FIONREAD, waiting)
        return waiting[0] == 0

    def kill(self) -> None:
        """kill -9; what it said before is in the ledger afterwards."""
        self.process.send_signal(signal.SIGKILL)
        self.finish()

    def finish(self) -> int:
        code = self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        return code

    _ended = False

    def _read(self) -> None:
        assert self.process.stdout is not None
        rest = b""
        with self.process.stdout as output:
            while True:
                select.select([output], [], [])
                with self.said:
                    chunk = os.read(output.fileno(), 1 << 16)
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        self.ledger.note(json.loads(line))
                    self.lines += len(lines)
                    self.said.notify_all()
                if not chunk:
                    break  # what is left was cut short by a kill
        with self.said:
            self._ended = True
            self.said.notify_all()


@contextmanager
def working(*arguments: str) -> Iterator[Worker]:
    """A worker that is gone afterwards."""
    worker = Worker(*arguments)
    try:
        yield worker
    finally:
        if worker.process.poll() is None:
            worker.kill()


async def compare(root: Path, allowed: dict[str, set[str | None]]) -> None:
    """Sweep, then hold the store against what may be there."""
    async with open_store(root) as store:
        await store.sweep()
        await store.abort_uploads(older_than_s=-1)
        for key, digests in allowed.items():
            try:
                file = await store.stat("cnet", key)
            except NotFoundError:
                assert None in digests, f"{key} is lost"
                continue
            assert file.sha256 in digests, f"{key} is neither old nor new"
            assert len(await content(store, file)) == file.size
    assert faults(root) == []
