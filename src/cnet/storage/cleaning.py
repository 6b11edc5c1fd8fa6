"""Removing blobs: nothing that somebody makes, and no directory that somebody reads."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

ID: Final = re.compile(r"[0-9a-f]{32}")
READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


def sweep(directory: Path, known: Callable[[Collection[str]], set[str]]) -> int:
    found = [entry.name for entry in os.scandir(directory) if ID.fullmatch(entry.name)]
    removed = 0
    for name in sorted(set(found) - known(found)):
        if _sweep_one(directory / name, known):
            log.info("leftover_removed", path=str(directory / name))
            removed += 1
    return removed


def _sweep_one(path: Path, known: Callable[[Collection[str]], set[str]]) -> bool:
    """Remove a blob that no row named a moment ago, if nobody is making it."""
    try:
        # Known after all: its writer committed in between, and let go.
        return _unlink_unheld(path, unless=lambda: bool(known([path.name])))
    except FileNotFoundError:
        return False


def remove(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):
        if not path.is_dir():
            raise
    else:
        return True
    return _unlink_unheld(path)


def _unlink_unheld(path: Path, unless: Callable[[], bool] = lambda: False) -> bool:
    """Unlink a blob that nobody has locked; `unless` is asked once it is locked here."""
    descriptor = os.open(path, READ)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if unless():
            return False
        unlink(path)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):
        if not path.is_dir():
            raise
        for entry in os.scandir(path):
            Path(entry.path).unlink(missing_ok=True)
        path.rmdir()
