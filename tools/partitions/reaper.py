"""End everything in the network namespaces named on the command line once stdin closes.

A word of digits is the inode of one without a name; this process itself may be in it. The harness
holds the other end of stdin, so that this happens however it ends. Runs alone, under
`python -I -S`; the harness also imports it for namespaces that an earlier run has left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterable
from pathlib import Path

NAMED = Path("/run/netns")
GIVE_UP_S = 30.0


def inode(name: str) -> int | None:
    """What identifies a namespace; None when there is none of that name."""
    try:
        return (NAMED / name).stat().st_ino
    except OSError:
        return None


def inside(inodes: Iterable[int]) -> list[int]:
    """Pids of all processes in these namespaces, zombies excepted."""
    wanted, found = set(inodes), []
    for entry in os.listdir("/proc"):  # noqa: PTH208  thousands of entries
        if entry.isdecimal():
            # A zombie has no namespaces any more; another one may end while it is looked at.
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{entry}/ns/net").st_ino in wanted:  # noqa: PTH116
                    found.append(int(entry))
    return found


def destroy(names: Iterable[str]) -> None:
    """Kill every process in the namespaces, then remove these. Returns when they are gone.

    Raises RuntimeError when a process outlives SIGKILL for long.
    """
    there = {name: number for name in names if (number := inode(name)) is not None}
    _empty(there.values())
    for name in there:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
    _empty(there.values())  # who was about to enter when the first look was taken


def _empty(inodes: Collection[int]) -> None:
    deadline = time.monotonic() + GIVE_UP_S
    while pids := [pid for pid in inside(inodes) if pid != os.getpid()]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes {pids[:5]} outlive SIGKILL")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def main() -> None:
    """Wait for the end of stdin. Signals to the harness's terminal are not meant for this."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while sys.stdin.buffer.read(4096):
        continue
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    _empty(numbers)
    destroy(word for word in sys.argv[1:] if not word.isdecimal())


if __name__ == "__main__":
    main()
