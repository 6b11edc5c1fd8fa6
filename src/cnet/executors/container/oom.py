"""Whether the kernel has killed something in a container for its memory limit.

Engines hear of it by an event that is lost when the container's control group is gone too soon:
some times in a hundred on a busy machine. The kernel's log has it, too (of many at once not all).
"""

from __future__ import annotations

import os

KERNEL_LOG = "/dev/kmsg"
_MARK = b"oom_memcg="
_RECORD_BYTES = 8192


def killed(container_id: str, log: str = KERNEL_LOG) -> bool:
    """False, too, where this user may not read the kernel's log. Blocking."""
    try:
        fd = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    wanted = container_id.encode()
    try:
        return any(_MARK in record and wanted in record for record in _records(fd))
    finally:
        os.close(fd)


def _records(fd: int) -> list[bytes]:
    """All that there is; one at a time is how the kernel hands them out."""
    found: list[bytes] = []
    while True:
        try:
            record = os.read(fd, _RECORD_BYTES)
        except BrokenPipeError:
            continue  # it was overwritten while we read: the next one is there
        except OSError:
            return found  # no more, or not for us
        if not record:
            return found
        found.append(record)
