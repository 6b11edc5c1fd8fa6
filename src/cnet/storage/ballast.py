"""A file that is given up when the disk is full, so that deletions can still be recorded."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

BALLAST_BYTES: Final = 4 * 1024 * 1024
FULL_BELOW_BYTES: Final = 1024 * 1024

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What a write to a full disk, or beyond a user's share of it, fails with."""


class Ballast:
    """One file that all processes of a data root share."""

    def __init__(self, root: Path, size: int = BALLAST_BYTES) -> None:
        self._path = root / "ballast"
        self._size = size
        self.given_up = False
        """the disk was full, and has not had room since"""

    def lay(self) -> None:
        """Lay it down if it is not there and there is clearly room; ends the full state."""
        if self._path.exists():
            self.given_up = False
            return
        if shutil.disk_usage(self._path.parent).free < 3 * self._size:
            self.given_up = True
            return
        draft = self._path.with_name(f"ballast.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size)
            draft.replace(self._path)
        except OSError as error:
            log.warning("ballast_failed", error=str(error))
            draft.unlink(missing_ok=True)
            self.given_up = True
        else:
            self.given_up = False
        finally:
            os.close(descriptor)

    def give_up(self) -> None:
        """Make room for a few deletions; until it is laid again nothing new is taken."""
        log.error("disk_full", path=str(self._path.parent), action="ballast given up")
        self._path.unlink(missing_ok=True)
        self.given_up = True

    def is_full(self, error: sqlite3.Error) -> bool:
        """Whether a failure of the catalogue comes from a full disk."""
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        return shutil.disk_usage(self._path.parent).free < FULL_BELOW_BYTES
