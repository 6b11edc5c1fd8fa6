"""What /proc says about processes: identity, descent and the cookie in the environment.

A pid alone is no identity (it comes back), and a zombie still answers `kill(pid, 0)`: a process is
the pair of pid and start time. Standard library only; values are as read, nothing is kept.
"""

# pathlib would cost every shim memory:
# ruff: noqa: PTH110, PTH208

from __future__ import annotations

import os

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_STATE, _PPID, _UTIME, _START, _RSS = 0, 1, 11, 19, 21  # places behind "pid (comm) "


def read_bytes(path: str) -> bytes:
    """The whole content of a small file of /proc or of a control group."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 8192):
            parts.append(part)
    finally:
        os.close(fd)
    return b"".join(parts)


def boot_id() -> str:
    """The kernel's identifier of this boot; another one means that no process of before lives."""
    return read_bytes("/proc/sys/kernel/random/boot_id").decode().strip()


def boot_time() -> float:
    """When this machine was started, in unix seconds."""
    for line in read_bytes("/proc/stat").splitlines():
        if line.startswith(b"btime "):
            return float(line.split()[1])
    raise OSError("/proc/stat has no btime line")


def stat_fields(pid: int) -> list[bytes] | None:
    """Fields 3 and up of /proc/<pid>/stat (proc(5)), or None when there is no such process."""
    try:
        data = read_bytes(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name may hold spaces and brackets; the last bracket closes it.
    return data[data.rindex(b")") + 2 :].split()


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat in clock ticks since boot; None when gone or a zombie."""
    fields = stat_fields(pid)
    if fields is None or fields[_STATE] in (b"Z", b"X"):
        return None
    return int(fields[_START])


def is_same_process(pid: int, start: int) -> bool:
    """Whether the process `pid` lives and is the one that was started at `start`."""
    return pid > 0 and start_time(pid) == start


def children(pid: int) -> list[int]:
    """The direct children of every thread of `pid`; empty when it is gone.

    Raises FileNotFoundError on a kernel without CONFIG_PROC_CHILDREN.
    """
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return found
    for task in tasks:
        try:
            found.extend(map(int, read_bytes(f"/proc/{pid}/task/{task}/children").split()))
        except (FileNotFoundError, ProcessLookupError):
            if not os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children"):
                raise
    return found


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, parents before children, without `pid` itself."""
    try:
        found = children(pid)
        for child in found:  # grows while it is walked
            found.extend(children(child))
    except FileNotFoundError:
        return _descendants_by_scan(pid)
    return found


def _descendants_by_scan(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for other in all_pids():
        fields = stat_fields(other)
        if fields is not None:
            parents.setdefault(int(fields[_PPID]), []).append(other)
    found = list(parents.get(pid, ()))
    for child in found:
        found.extend(parents.get(child, ()))
    return found


def all_pids() -> list[int]:
    """The pids of every visible process."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def pids_with_environment(entry: bytes) -> list[int]:
    """Processes whose initial environment holds exactly `entry` (`b"NAME=value"`).

    Finds daemons that left session, group and parent behind. Processes whose environment may not
    be read (another user's, when this one is not root) are passed over, and so are zombies.
    """
    found = []
    needle = b"\0" + entry + b"\0"
    for pid in all_pids():
        try:
            environment = read_bytes(f"/proc/{pid}/environ")
        except OSError:
            continue
        if needle in b"\0" + environment and start_time(pid) is not None:
            found.append(pid)
    return found


def usage(pids: list[int]) -> tuple[float, int, int]:
    """CPU seconds (with those of reaped children), resident bytes, and how many of `pids` live."""
    ticks = pages = living = 0
    for pid in pids:
        fields = stat_fields(pid)
        if fields is not None:
            ticks += sum(map(int, fields[_UTIME : _UTIME + 4]))
            pages += int(fields[_RSS])
            living += fields[_STATE] not in (b"Z", b"X")
    return ticks / CLOCK_TICKS, pages * PAGE_BYTES, living


def reaped_cpu_s(pid: int) -> float:
    """CPU seconds of the children that `pid` has already reaped."""
    fields = stat_fields(pid)
    return 0.0 if fields is None else sum(map(int, fields[13:15])) / CLOCK_TICKS
