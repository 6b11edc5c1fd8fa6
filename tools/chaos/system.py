"""What the machine itself says about processes: the tool's own eyes, shared with no product code.

A process is its pid and start time (proc(5), field 22). Only /proc is read.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, order=True)
class Process:
    """One incarnation of a pid; `start` in clock ticks since boot."""

    pid: int
    start: int

    def lives(self) -> bool:
        """Whether it still runs; a zombie does not."""
        return start_time(self.pid) == self.start

    def kill(self) -> bool:
        """SIGKILL; False when it had ended. Safe against a reused pid."""
        return self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> bool:
        """A signal; False when it had ended. Safe against a reused pid."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.lives():
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True


def start_time(pid: int) -> int | None:
    """When `pid` was started; None when there is no such process or only its zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def incarnation(pid: int) -> Process | None:
    """The process that has `pid` now."""
    start = start_time(pid)
    return None if start is None else Process(pid, start)


def environments() -> Iterator[tuple[Process, dict[str, str]]]:
    """Every living process whose initial environment may be read, with it."""
    for pid in _pids():
        process = incarnation(pid)
        if process is None:
            continue
        try:
            data = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        entries = (entry.partition("=") for entry in data.decode(errors="replace").split("\0"))
        yield process, {name: value for name, _, value in entries}


def carrying(name: str, value: str) -> list[Process]:
    """Living processes with `name=value` in their environment."""
    return [process for process, environment in environments() if environment.get(name) == value]


def mentioning(text: str) -> list[Process]:
    """Living processes with `text` somewhere in their command line."""
    found = []
    for pid in _pids():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if text.encode() in words and (process := incarnation(pid)) is not None:
            found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def parent(pid: int) -> int | None:
    """The parent of `pid`, or None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(text[text.rindex(")") + 2 :].split()[1])


def children(pid: int) -> list[Process]:
    """The living direct children of a process with one thread; empty when it is gone."""
    try:
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [process for word in pids if (process := incarnation(int(word))) is not None]


def open_files(pid: int) -> list[str]:
    """What its descriptors point to, as far as it may be read."""
    try:
        return [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []  # it has ended


def describe(process: Process) -> str:
    """Pid and command line, for people."""
    try:
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return f"{process.pid} (gone)"
    return f"{process.pid} ({' '.join(word.decode(errors='replace') for word in words)[:120]})"


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]  # noqa: PTH208
