"""The lease of a run: until when it may go on, renewed by the agent, enforced by its shim.

A number in a file of the run directory: nanoseconds of CLOCK_BOOTTIME, which goes on while the
machine is suspended and starts anew with every boot, as runs do. The agent overwrites it in place;
the shim reads it when its timer is due, so a renewal wakes nobody. Standard library only.

What this cannot do: a shim that is stopped (SIGSTOP, a frozen container) ends nothing until it goes
on, and a virtual machine that is paused from outside may not notice how much time has passed.
"""

from __future__ import annotations

import os
import struct
import time

from cnet.supervision import linux

FILE = "lease"
MAX_S = 9e9
"""Seconds of CLOCK_BOOTTIME that a lease may reach to; some 285 years."""
OVER_BEFORE_START = b"its lease was over before the command could be started"
"""What the child reports instead of becoming the command."""
NS_PER_S = 1_000_000_000
# Twice: the kernel does not promise that a reader sees all eight bytes of one write.
_CONTENT = struct.Struct("=qq")
_READ_ATTEMPTS = 3


class Lease:
    """The shim's end: the file and a timer, `fd` of the latter, that is due when the lease is over.

    Raises OSError when the file or the timer cannot be had: what cannot be enforced must not start.
    """

    __slots__ = ("_file", "_until_ns", "fd")

    def __init__(self, directory: str) -> None:
        self._file = os.open(f"{directory}/{FILE}", os.O_RDONLY | os.O_CLOEXEC)
        self._until_ns = 0
        self.fd = linux.boottime_timer()
        self.is_over()

    def is_over(self) -> bool:
        """Whether it has run out, by the newest renewal; if not, the timer is set to its end."""
        self._until_ns = max(self._until_ns, _read(self._file))
        if self._until_ns <= now_ns():
            return True
        linux.set_timer(self.fd, self._until_ns)
        return False

    def remaining_s(self, grace_s: float) -> float:
        """Seconds until `grace_s` after the end, 0 when that has passed; the timer is set to it.

        The timer, because a monotonic clock stands still while the machine is suspended.
        """
        last_ns = self._until_ns + int(grace_s * NS_PER_S)
        linux.set_timer(self.fd, last_ns)
        return max(0, last_ns - now_ns()) / NS_PER_S

    def acknowledge(self) -> None:
        """Clear the timer once it was due."""
        os.read(self.fd, 8)

    def close(self) -> None:
        """Close the file and the timer."""
        os.close(self._file)
        os.close(self.fd)


def now_ns() -> int:
    """CLOCK_BOOTTIME in nanoseconds."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def now() -> float:
    """CLOCK_BOOTTIME in seconds: the clock of every lease."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def create(directory: str, until: float) -> None:
    """Make the file, before the spec: a run that has a lease is never seen without it."""
    _write(directory, until, os.O_CREAT)


def extend(directory: str, until: float) -> None:
    """Overwrite the end; raises OSError. In place: no new block is needed, no reader disturbed."""
    _write(directory, until, 0)


def read(directory: str) -> float | None:
    """The end of a run's lease in CLOCK_BOOTTIME seconds; None when it has none."""
    try:
        fd = os.open(f"{directory}/{FILE}", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return _read(fd) / NS_PER_S
    finally:
        os.close(fd)


def _write(directory: str, until: float, flags: int) -> None:
    until_ns = int(min(until, MAX_S) * NS_PER_S)
    fd = os.open(f"{directory}/{FILE}", os.O_WRONLY | os.O_CLOEXEC | flags, 0o600)
    try:
        os.pwrite(fd, _CONTENT.pack(until_ns, until_ns), 0)
    finally:
        os.close(fd)


def _read(fd: int) -> int:
    """Nanoseconds; 0, which is over, for a file that was tampered with."""
    for _ in range(_READ_ATTEMPTS):
        content = os.pread(fd, _CONTENT.size, 0)
        if len(content) != _CONTENT.size:
            break
        until_ns, again = _CONTENT.unpack(content)
        if until_ns == again:
            return int(until_ns)
    return 0
