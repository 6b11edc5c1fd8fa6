"""The files of a run directory: who writes which, and how they are made safe to read.

    spec.json      the agent, before the launch     what to run
    lock           the shim                         its existence is the claim, its flock the life
    shim.json      the shim, before the command     who runs where
    stop.json      the agent                        how long a stop may take
    exit.json      the shim, or the agent for it    how the run ended; durable

Readers never see half a file: each is written under another name and renamed. Standard library
only; nothing here decides anything.
"""

# pathlib would cost every shim memory:
# ruff: noqa: PTH104, PTH108, PTH110

from __future__ import annotations

import fcntl
import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SPEC = "spec.json"
LOCK = "lock"
SHIM = "shim.json"
STOP = "stop.json"
EXIT = "exit.json"
SPAWNER_LOCK = "spawner.lock"
OUTPUT_LOG = "output.log"

_RESERVED_BYTES = 4096


def write_json(directory: str, name: str, record: dict[str, Any]) -> None:
    """Write `record` (mode 0600) so that readers see the old or the new one, never a part.

    Not durable: after a power cut the boot id tells that the run is over anyway.
    """
    temporary = f"{directory}/.{name}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600)
    try:
        _write_all(fd, json.dumps(record).encode())
    finally:
        os.close(fd)
    os.rename(temporary, f"{directory}/{name}")


def read_json(directory: str, name: str) -> dict[str, Any] | None:
    """The record, or None when it does not exist or is not an object of JSON."""
    try:
        fd = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    data = b""
    try:
        while part := os.read(fd, 8192):
            data += part
    finally:
        os.close(fd)
    try:
        record = json.loads(data)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def reserve_exit(directory: str) -> None:
    """Take room for the exit record now, so that a disk full by then cannot lose it."""
    fd = os.open(_exit_temporary(directory), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _write_all(fd, b" " * _RESERVED_BYTES)
    finally:
        os.close(fd)


def write_exit(directory: str, record: dict[str, Any]) -> None:
    """Write the exit record durably: in the reserved room, fsync, rename, fsync of the directory.

    Without the first fsync a power cut leaves an empty record, without the second none.
    """
    data = json.dumps(record).encode()
    temporary = _exit_temporary(directory)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _write_all(fd, data)
        os.ftruncate(fd, len(data))
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, f"{directory}/{EXIT}")
    sync_directory(directory)


def sync_directory(directory: str) -> None:
    """Make the names in `directory` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def claim(directory: str) -> int | None:
    """Claim the run for this process and for ever; the locked descriptor, or None when taken.

    The lock is taken before the file gets its name, so whoever sees the name and no lock knows
    that the claimer is dead. The descriptor must stay open as long as the claimer lives.
    """
    temporary = f"{directory}/.{LOCK}.{os.getpid()}"
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        os.link(temporary, f"{directory}/{LOCK}")
    except FileExistsError:
        os.close(fd)
        return None
    finally:
        os.unlink(temporary)
    return fd


def is_claimed(directory: str) -> bool:
    """Whether a shim ever took this run."""
    return os.path.exists(f"{directory}/{LOCK}")


def is_locked(directory: str) -> bool:
    """Whether the claimer (or its child on the way to `exec`) lives."""
    try:
        fd = os.open(f"{directory}/{LOCK}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _exit_temporary(directory: str) -> str:
    return f"{directory}/.{EXIT}.reserved"


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
