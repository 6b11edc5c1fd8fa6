"""Files by which a program is told what must not stand in its command line."""

from __future__ import annotations

import errno
from pathlib import Path

from cnet._support.files import write_atomic
from cnet.errors import ExecutionError, StorageFullError


def hand_over(path: Path, content: bytes) -> None:
    """Write a file, below the folder of a workload, that only the agent's user may read. Blocking.

    Raises StorageFullError, ExecutionError (`start_failed`).
    """
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomic(path, content, durable=False)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFullError(f"no room for {path.name}: {error.strerror}") from error
        raise ExecutionError(f"{path}: {error.strerror}", code="start_failed") from error
