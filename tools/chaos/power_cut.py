"""Power cuts: what was acknowledged must be on the disk at that moment, not in somebody's memory.

kill -9 cannot show a missing fsync, because the kernel keeps what a dead process wrote. So the data
directory lies on an ext4 file system in an image file behind a loop device. What the file system
has written to its device is in the image; what waits in its page cache is not. A copy of the image,
with not one write to the device between its begin and its end, is what a machine finds that lost
its power then. The copy is mounted (ext4 replays its own log) and the database in it is read.

Needs root and loop devices. Weaker than a real cut in one point: writes that a disk would hold in a
volatile cache count as written.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tools.chaos import model, system
from tools.chaos.agent import AgentUnderTest, UnansweredError
from tools.chaos.model import InvariantError, new_id

IMAGE_BYTES = 64 * 1024 * 1024
CLIENTS = 2
MAX_ALIVE = 6
COPY_ATTEMPTS = 200
STAT_WRITES, STAT_IN_FLIGHT = 4, 8  # fields of /sys/block/<device>/stat


def why_not() -> str | None:
    """Why power cannot be cut here, or None."""
    if os.geteuid() != 0:
        return "mounting an image needs root"
    missing = [name for name in ("losetup", "mkfs.ext4", "mount") if shutil.which(name) is None]
    if missing:
        return f"not on PATH: {', '.join(missing)}"
    done = subprocess.run(["losetup", "--find"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"no loop device: {done.stderr.strip()}"


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[str]:
    """The image mounted at `place`; yields the name of its loop device (`loop3`)."""
    place.mkdir(exist_ok=True)
    device = _run("losetup", "--find", "--show", str(image))
    try:
        _run("mount", device, str(place))
        try:
            yield Path(device).name
        finally:
            _unmount(place)
    finally:
        _run("losetup", "--detach", device)


@dataclass
class Ledger:
    """What was acknowledged, by workload id; `open_ids` have an operation under way."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    wishes: dict[str, str] = field(default_factory=dict)
    exits: dict[str, int] = field(default_factory=dict)
    open_ids: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    acknowledged: int = 0


class PowerCuts:
    """An agent under load on a disk whose power is cut `wanted` times."""

    def __init__(self, seed: int, wanted: int, folder: Path, *, plant: str | None) -> None:
        self._wanted = wanted
        self._folder = folder
        self._rng = random.Random(seed)
        self._mark = f"{uuid.UUID(int=self._rng.getrandbits(128))}-{os.getpid()}"
        self._image = folder / "disk.img"
        self._disk = folder / "disk"
        self._agent = AgentUnderTest(self._disk, plant=plant)
        self._ledger = Ledger()
        self._ending = threading.Event()
        self._failure: InvariantError | None = None
        self._seeds = [seed * 1000 + number for number in range(CLIENTS)]
        self.cuts = 0
        self.acknowledged = 0
        """operations that a cut image had to hold, over all cuts"""

    def run(self) -> None:
        """Raises InvariantError (`durability`) for what an image lacks."""
        with self._image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        with mounted(self._image, self._disk) as device:
            threads = [
                threading.Thread(target=self._client, args=(random.Random(seed),), daemon=True)
                for seed in self._seeds
            ]
            try:
                self._agent.start()
                for thread in threads:
                    thread.start()
                while self.cuts < self._wanted:
                    time.sleep(self._rng.uniform(0.05, 0.4))
                    self._cut(device)
                    if self._failure is not None:
                        raise self._failure
            finally:
                self._ending.set()
                self._clean_up()
                for thread in threads:
                    if thread.ident is not None:
                        thread.join()

    # --- the load ------------------------------------------------------------------------------

    def _client(self, rng: random.Random) -> None:
        mine: list[str] = []
        try:
            while not self._ending.is_set():
                if len(mine) < MAX_ALIVE and rng.random() < 0.7:
                    mine.append(self._submit(rng))
                elif mine:
                    self._end(mine, rng)
        except UnansweredError as error:
            if not self._ending.is_set():
                self._failure = InvariantError("answer", str(error))
        except InvariantError as violation:
            self._failure = violation

    def _submit(self, rng: random.Random) -> str:
        workload_id = new_id(rng, self._mark)
        quick = rng.random() < 0.3
        command = ["-c", "exit 7"] if quick else ["-c", "exec sleep 100000"]
        body = {
            "id": workload_id,
            "name": "power",
            "type": "process",
            "config": {"command": "sh", "args": command, "env": {"CHAOS_MARK": self._mark}},
            "stop_grace_s": 0.1,
        }
        self._ask(workload_id, "POST", "/api/workloads", model.RUNNING, body)
        if quick:
            self._note_exit(workload_id)
        return workload_id

    def _end(self, mine: list[str], rng: random.Random) -> None:
        workload_id = rng.choice(mine)
        if rng.random() < 0.3:
            path = f"/api/workloads/{workload_id}/stop?wait=false"
            self._ask(workload_id, "POST", path, model.STOPPED)
        else:
            mine.remove(workload_id)
            path = f"/api/workloads/{workload_id}?wait=false"
            self._ask(workload_id, "DELETE", path, model.DELETED)

    def _ask(
        self, workload_id: str, method: str, path: str, wish: str, body: object = None
    ) -> None:
        with self._ledger.lock:
            self._ledger.open_ids.add(workload_id)
            self._ledger.touched.add(workload_id)
        status, answer = self._agent.call(method, path, body)
        refused = status == 409 and answer["error"] == "wrong_state"  # has ended by itself
        if status not in (200, 201) and not refused:
            raise InvariantError("answer", f"{method} was answered {status} {answer}", workload_id)
        with self._ledger.lock:
            self._ledger.open_ids.discard(workload_id)
            if not refused:
                self._ledger.wishes[workload_id] = wish
                self._ledger.acknowledged += 1

    def _note_exit(self, workload_id: str) -> None:
        """Once the agent shows the end, its record must be durable."""
        while True:
            _, item = self._agent.call("GET", f"/api/workloads/{workload_id}")
            if item["status"] == "failed":
                break
            time.sleep(0.002)
        with self._ledger.lock:
            self._ledger.exits[workload_id] = item["exit_code"]

    # --- the cut -------------------------------------------------------------------------------

    def _cut(self, device: str) -> None:
        """Copy the disk as it is, and hold the copy against what had been acknowledged."""
        if self._agent.process is None:
            raise RuntimeError("not started")
        ledger = self._ledger
        copy = self._folder / "cut.img"
        # Stopped, so that nothing is acknowledged while the copy is made.
        self._agent.process.send_signal(signal.SIGSTOP)
        try:
            with ledger.lock:
                wishes, exits = dict(ledger.wishes), dict(ledger.exits)
                ledger.touched = set(ledger.open_ids)
            copy_untouched(self._image, copy, device)
            with ledger.lock:
                unsure = set(ledger.touched)
        finally:
            self._agent.process.send_signal(signal.SIGCONT)
        certain = {key: wish for key, wish in wishes.items() if key not in unsure}
        with mounted(copy, self._folder / "cut"):
            self._compare(self._folder / "cut" / "data", certain, exits)
        copy.unlink()
        self.cuts += 1
        self.acknowledged += len(certain)

    def _compare(self, data: Path, certain: dict[str, str], exits: dict[str, int]) -> None:
        found = _read_journal(data / "cnet.db")
        for workload_id, wish in certain.items():
            status = found.get(workload_id)
            held = status is not None and (
                wish == model.RUNNING
                or (wish == model.STOPPED and status["desired"] in ("stopped", "deleted"))
                or (wish == model.DELETED and status["desired"] == "deleted")
            )
            if not held and not (wish == model.DELETED and status is None):
                raise InvariantError(
                    "durability",
                    f"cut {self.cuts + 1}: {wish} was acknowledged, the disk says {status}",
                    workload_id,
                )
            code = exits.get(workload_id)
            if wish == model.RUNNING and code is not None:
                self._compare_exit(data / "runs" / workload_id / "1" / "exit.json", code)

    def _compare_exit(self, path: Path, code: int) -> None:
        text = path.read_text() if path.exists() else "nothing"
        if f'"exit_code": {code}' not in text:
            raise InvariantError("durability", f"exit code {code} was shown, {path} holds {text}")

    def _clean_up(self) -> None:
        self._agent.kill()
        while left := self._processes():
            for process in left:
                process.kill()
            time.sleep(0.05)

    def _processes(self) -> list[system.Process]:
        marked = system.carrying("CHAOS_MARK", self._mark)
        return marked + system.mentioning(str(self._agent.data_dir))


def _read_journal(path: Path) -> dict[str, dict[str, object]]:
    connection = sqlite3.connect(path)
    try:
        (state,) = connection.execute("PRAGMA integrity_check").fetchone()
        if state != "ok":
            raise InvariantError("durability", f"the database is damaged: {state}")
        rows = connection.execute("SELECT id, status FROM workloads").fetchall()
    except sqlite3.Error as error:
        raise InvariantError("durability", f"the database cannot be read: {error}") from error
    finally:
        connection.close()
    return {workload_id: json.loads(status) for workload_id, status in rows}


def copy_untouched(image: Path, copy: Path, device: str) -> None:
    """Copy; again, when the kernel wrote to the device meanwhile (its own log, old pages).

    Always to a new file: whoever made a mount namespace while an earlier copy was mounted keeps
    that one mounted, and what its file system writes at its end must not come into this copy.
    """
    for _ in range(COPY_ATTEMPTS):
        before = _device_writes(device)
        if before is not None:
            copy.unlink(missing_ok=True)
            _run("cp", "--sparse=always", str(image), str(copy))
            if _device_writes(device) == before:
                return
        time.sleep(0.005)
    raise RuntimeError(f"/dev/{device} was never quiet for the time of a copy")


def _device_writes(device: str) -> int | None:
    """Writes completed so far; None while any is under way."""
    fields = Path(f"/sys/block/{device}/stat").read_text().split()
    return None if int(fields[STAT_IN_FLIGHT]) else int(fields[STAT_WRITES])


def _unmount(place: Path) -> None:
    for _ in range(100):
        done = subprocess.run(["umount", str(place)], capture_output=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.05)
    _run("umount", "--lazy", str(place))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()
