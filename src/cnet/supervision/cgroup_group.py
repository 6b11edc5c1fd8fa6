"""The control groups of one run: made with its limits, entered, read, killed, removed.

Used by the shim for its run and by the agent for what a dead shim left behind. A limit that
cannot be set is not an error here: `enforced` says in one stable word how each asked limit holds.

Sources: Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst. CPU weight: 1024 shares
are one core as in Docker and Kubernetes; shares → weight by the formula of Kubernetes
KEP-2254 (cgroup v2): 1 + ((shares - 2) * 9999) / 262142.
"""

# pathlib would cost every shim memory:
# ruff: noqa: PTH106, PTH110, PTH120

from __future__ import annotations

import os
import signal
import time

from cnet.supervision import procfs
from cnet.supervision.cgroups import CONTROLLERS, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cnet.supervision.cgroups import Cgroups

CPU_PERIOD_US = 100_000
MIN_QUOTA_US = 1_000  # the kernel takes no smaller one
REMOVE_ATTEMPTS = 200  # of 5 ms: a group empties shortly after its last process was reaped
FREEZE_ATTEMPTS = 50


class RunGroup:
    """The directories of one run.

    `enforced`: memory, cpu, pids → `cgroup_v1`, `cgroup_v2`, `rlimit_data` or `none`; only what was
    asked. `birth` is the v2 directory the command can be born into; `attach` those it must be
    moved into by its pid.
    """

    __slots__ = ("attach", "birth", "directories", "enforced", "memory")

    def __init__(self) -> None:
        self.enforced: dict[str, str] = {}
        self.directories: list[str] = []
        self.attach: list[str] = []
        self.birth: str | None = None
        self.memory: str | None = None

    def enter(self, pid: int) -> None:
        """Move `pid` into the groups it was not born into; raises OSError when refused."""
        for directory in self.attach:
            write(f"{directory}/cgroup.procs", str(pid))

    def oom_kills(self) -> int:
        """How many processes of the run the kernel killed for want of memory."""
        return oom_kills(self.memory) if self.memory else 0

    def kill(self) -> None:
        """Send SIGKILL to everything inside; what is being born at this moment may need another."""
        kill(self.directories)

    def clear(self) -> None:
        """Kill what is left inside: what users run beside the command is none of its children."""
        if any(members(directory) for directory in self.directories):
            self.kill()

    def remove(self) -> None:
        """Remove the directories; they must have been emptied."""
        for directory in self.directories:
            remove(directory)


def limit_settings(
    version: int, limits: Mapping[str, int | None]
) -> dict[str, list[tuple[str, str]]]:
    """What to write for the asked limits: controller → (file, value) in this order.

    Keys of `limits`: memory_bytes, cpu_weight_millicores, cpu_quota_millicores, pids.
    """
    settings: dict[str, list[tuple[str, str]]] = {}
    memory, pids = limits.get("memory_bytes"), limits.get("pids")
    weight, quota = limits.get("cpu_weight_millicores"), limits.get("cpu_quota_millicores")
    if memory is not None:
        settings["memory"] = (
            # With swap a limit would only move the overrun to the disk.
            [("memory.limit_in_bytes", str(memory)), ("memory.memsw.limit_in_bytes", str(memory))]
            if version == 1
            else [("memory.max", str(memory)), ("memory.swap.max", "0")]
        )
    cpu = _weight_setting(version, weight) if weight is not None else []
    cpu += _quota_setting(version, quota) if quota is not None else []
    if cpu:
        settings["cpu"] = cpu
    if pids is not None:
        settings["pids"] = [("pids.max", str(pids))]
    return settings


def _weight_setting(version: int, millicores: int) -> list[tuple[str, str]]:
    shares = min(262_144, max(2, millicores * 1024 // 1000))
    if version == 1:
        return [("cpu.shares", str(shares))]
    return [("cpu.weight", str(1 + (shares - 2) * 9999 // 262_142))]


def _quota_setting(version: int, millicores: int) -> list[tuple[str, str]]:
    quota = max(MIN_QUOTA_US, millicores * CPU_PERIOD_US // 1000)
    if version == 1:
        return [("cpu.cfs_period_us", str(CPU_PERIOD_US)), ("cpu.cfs_quota_us", str(quota))]
    return [("cpu.max", f"{quota} {CPU_PERIOD_US}")]


def make(
    cgroups: Cgroups,
    run_id: str,
    limits: Mapping[str, int | None],
    *,
    make_directory: Callable[[str], None] = os.mkdir,
) -> RunGroup:
    """Make the groups that the limits of this run need, and the one to kill it by.

    A controller that refuses falls back (memory: `rlimit_data`, others: `none`).
    """
    group = RunGroup()
    for controller in CONTROLLERS:
        version, base = cgroups.bases.get(controller, (0, ""))
        wanted = limit_settings(version or 2, limits).get(controller)
        if wanted is None:
            continue
        directory = f"{base}/{run_id}"
        try:
            if not version:
                raise FileNotFoundError(controller)
            _make(group, directory, make_directory)
            _apply(directory, wanted)
        except OSError:
            group.enforced[controller] = "rlimit_data" if controller == "memory" else "none"
            continue
        group.enforced[controller] = f"cgroup_v{version}"
        if controller == "memory":
            group.memory = directory
        _note_entry(group, version, directory)
    _add_kill_group(cgroups, run_id, group, make_directory)
    return group


def _add_kill_group(
    cgroups: Cgroups, run_id: str, group: RunGroup, make_directory: Callable[[str], None]
) -> None:
    # Moving a process costs some 10 ms: the freezer is only for a run that is moved anyway.
    version, base = cgroups.bases.get("kill", (0, ""))
    if not version and group.attach:
        version, base = cgroups.bases.get("freezer", (0, ""))
    if not version:
        return
    try:
        _make(group, f"{base}/{run_id}", make_directory)
    except OSError:
        return  # the tree is then killed by walking it
    _note_entry(group, version, f"{base}/{run_id}")


def _note_entry(group: RunGroup, version: int, directory: str) -> None:
    if version == 2:
        group.birth = directory
    elif directory not in group.attach:
        group.attach.append(directory)


def _make(group: RunGroup, directory: str, make_directory: Callable[[str], None]) -> None:
    if directory in group.directories:
        return
    try:
        make_directory(directory)
    except FileNotFoundError:
        make_directory(os.path.dirname(directory))  # the base was removed under us
        make_directory(directory)
    except FileExistsError:
        pass
    group.directories.append(directory)


def _apply(directory: str, settings: list[tuple[str, str]]) -> None:
    for name, value in settings:
        path = f"{directory}/{name}"
        if ("swap" in name or "memsw" in name) and not os.path.exists(path):
            continue  # a kernel without swap accounting
        write(path, value)
        _check(path, value)


def _check(path: str, value: str) -> None:
    """Raise unless the kernel kept what was written (memory may be rounded to pages)."""
    kept = procfs.read_bytes(path).decode().strip()
    if kept != value and not (
        kept.isdecimal() and value.isdecimal() and abs(int(kept) - int(value)) < procfs.PAGE_BYTES
    ):
        raise OSError(22, f"{path} holds {kept} instead of {value}")


def oom_kills(directory: str) -> int:
    """The `oom_kill` counter of a memory group; `failcnt` would count page cache as well."""
    for name in ("memory.events", "memory.oom_control"):
        try:
            lines = procfs.read_bytes(f"{directory}/{name}").splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
    return 0


def members(directory: str) -> list[int]:
    """Pids inside the group and the groups below it; empty when it is gone."""
    found: list[int] = []
    for place, _, _ in os.walk(directory):
        try:
            found.extend(map(int, procfs.read_bytes(f"{place}/cgroup.procs").split()))
        except OSError:
            continue  # removed while we looked
    return found


def kill(directories: list[str]) -> None:
    """Send SIGKILL to everything inside `directories`, at once where the kernel can."""
    for directory in directories:
        if os.path.exists(f"{directory}/cgroup.kill"):
            write(f"{directory}/cgroup.kill", "1")
            continue
        frozen = _freeze(directory)
        for pid in members(directory):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if frozen:
            write(f"{directory}/freezer.state", "THAWED")


def _freeze(directory: str) -> bool:
    path = f"{directory}/freezer.state"
    if not os.path.exists(path):
        return False
    write(path, "FROZEN")
    for _ in range(FREEZE_ATTEMPTS):
        if procfs.read_bytes(path).strip() == b"FROZEN":
            break
        time.sleep(0.001)
    return True


def remove(directory: str) -> None:
    """Remove a group and the groups below it, waiting a moment for it to empty.

    Raises OSError when it is still in use after about a second.
    """
    for place, _, _ in os.walk(directory, topdown=False):
        for attempt in range(REMOVE_ATTEMPTS):
            try:
                os.rmdir(place)
            except FileNotFoundError:
                break
            except OSError:
                if attempt == REMOVE_ATTEMPTS - 1:
                    raise
                time.sleep(0.005)
            else:
                break
