"""The files of a run directory: who writes which, and how they are made safe to read.

    spec.json      the agent, before the launch     what to run; the shim's flock on it is its life
    shim.json      the shim, before the command     who runs where
    stop.json      the agent                        how long a stop may take
    lease          the agent, before the spec       until when it may run; not all have one
    exit.json      the shim, or the agent for it    how the run ended; durable

Readers never see half a file: each but the lease is written under another name and renamed.
Standard library only; nothing here decides anything.
"""

# pathlib would cost every shim memory:
# ruff: noqa: PTH104, PTH110

from __future__ import annotations

import errno
import fcntl
import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SPEC = "spec.json"
SHIM = "shim.json"
STOP = "stop.json"
EXIT = "exit.json"
SPAWNER_LOCK = "spawner.lock"
OUTPUT_LOG = "output.log"

CLAIM_ATTEMPTS = 20
CLAIM_INTERVAL_S = 0.002


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


def write_exit(directory: str, record: dict[str, Any]) -> None:
    """Write the exit record durably: fsync, rename, fsync of the directory.

    Without the first fsync a power cut leaves an empty record, without the second none. On a full
    disk it takes the place of the spec, whose block is there already. Raises OSError.
    """
    data = json.dumps(record).encode()
    temporary = f"{directory}/.{EXIT}.{os.getpid()}"
    try:
        _write_synced(temporary, data, os.O_CREAT | os.O_TRUNC)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        temporary = f"{directory}/{SPEC}"
        _write_synced(temporary, data, 0)
    os.rename(temporary, f"{directory}/{EXIT}")
    sync_directory(directory)


def _write_synced(path: str, data: bytes, flags: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, 0o600)
    try:
        _write_all(fd, data)
        os.ftruncate(fd, len(data))
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_directory(directory: str) -> None:
    """Make the names in `directory` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def claim(directory: str) -> int | None:
    """Take the run for this process; the locked descriptor of its spec, or None when it is taken.

    The descriptor must stay open as long as the run lasts: its lock is the proof of life. A run is
    taken for ever once it has a record; one whose claimer died before has not run anything.
    """
    fd = os.open(f"{directory}/{SPEC}", os.O_RDONLY | os.O_CLOEXEC)
    if _lock(fd) and not any(os.path.exists(f"{directory}/{name}") for name in (SHIM, EXIT)):
        return fd
    os.close(fd)
    return None


def _lock(fd: int) -> bool:
    for _ in range(CLAIM_ATTEMPTS):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(CLAIM_INTERVAL_S)  # perhaps only somebody who looks whether it is locked
        else:
            return True
    return False


def is_locked(directory: str) -> bool:
    """Whether the claimer (or its child on the way to `exec`) lives."""
    try:
        fd = os.open(f"{directory}/{SPEC}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
