"""Finding the control groups of this machine and making the base groups of this agent.

Knows version 1 (one hierarchy per controller), version 2 (one hierarchy), and the hybrid where
controllers are bound to version 1 while an empty version 2 tree still offers `cgroup.kill`. Touches
no process except to make the agent's own group a leaf, which version 2 demands before controllers
can be passed down.

Sources: cgroups(7), Documentation/admin-guide/cgroup-v2.rst, systemd's "Control Group APIs and
Delegation".
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from cnet.supervision import procfs
from cnet.supervision.cgroups import CONTROLLERS, Cgroups, write

LEAF = "cnet-agent"  # the agent's own group below a delegated one


class Hierarchy:
    """A mounted tree of groups: its version, mount point, and this process's place in it."""

    __slots__ = ("mount", "own", "version")

    def __init__(self, *, version: int, mount: str, own: str) -> None:
        self.version = version
        self.mount = mount
        self.own = own


def base_name(root: str) -> str:
    """The name of the base group of the agent whose run directories are below `root`."""
    return "cnet-" + hashlib.sha256(os.path.realpath(root).encode()).hexdigest()[:12]


def hierarchies(mountinfo: str, own_groups: str) -> dict[str, Hierarchy]:
    """Parse /proc/self/mountinfo and /proc/self/cgroup: controller, or `unified`, → hierarchy."""
    places = {}
    for line in own_groups.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            places[name or "unified"] = path
    found: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        root, mount = left.split(" ")[3:5]
        if kind not in ("cgroup", "cgroup2"):
            continue
        for name in options.split(",") if kind == "cgroup" else ["unified"]:
            if name in places and name not in found:
                own = _below(places[name], root)
                version = 2 if kind == "cgroup2" else 1
                found[name] = Hierarchy(version=version, mount=mount, own=mount + own)
    return found


def _below(path: str, root: str) -> str:
    """`path` as seen from a mount that shows only what is below `root`; "" for the top."""
    if root != "/" and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    return "" if path == "/" or path.startswith("/..") else path


def prepare(
    root: str,
    *,
    mountinfo: str | None = None,
    own_groups: str | None = None,
    make_directory: Callable[[str], None] = os.mkdir,
) -> Cgroups:
    """Find the hierarchies and make the base groups for the run directories below `root`.

    Harmless to repeat. Never raises for want of permission: that becomes a problem with a reason.
    The texts and `make_directory` can be given to try layouts other than this machine's.
    """
    try:
        if mountinfo is None:
            mountinfo = procfs.read_bytes("/proc/self/mountinfo").decode()
        if own_groups is None:
            own_groups = procfs.read_bytes("/proc/self/cgroup").decode()
    except OSError as error:
        return Cgroups.none(f"cannot read /proc/self: {error.strerror}")
    found = hierarchies(mountinfo, own_groups)
    maker = _BaseMaker(base_name(root), make_directory)
    for controller in (*CONTROLLERS, "freezer"):
        if controller in found:
            maker.version_1(controller, found[controller])
    if "unified" in found:
        maker.version_2(found["unified"])
    for purpose in (*CONTROLLERS, "kill"):
        if purpose not in maker.bases:
            maker.problems.setdefault(purpose, f"no hierarchy offers {purpose}")
    return Cgroups(maker.bases, maker.problems)


class _BaseMaker:
    def __init__(self, name: str, make_directory: Callable[[str], None]) -> None:
        self.name = name
        self.make_directory = make_directory
        self.bases: dict[str, tuple[int, str]] = {}
        self.problems: dict[str, str] = {}

    def version_1(self, controller: str, hierarchy: Hierarchy) -> None:
        """Below the own group, so that limits set on the agent still hold; else at the top."""
        for parent in dict.fromkeys((hierarchy.own, hierarchy.mount)):
            try:
                self._make(f"{parent}/{self.name}")
            except OSError as error:
                self.problems[controller] = f"cannot make a group in {parent}: {error.strerror}"
            else:
                self.bases[controller] = (1, f"{parent}/{self.name}")
                return

    def version_2(self, hierarchy: Hierarchy) -> None:
        wanted = [name for name in CONTROLLERS if name not in self.bases]
        for parent in self._version_2_parents(hierarchy):
            try:
                offered = procfs.read_bytes(f"{parent}/cgroup.controllers").decode().split()
                usable = [name for name in wanted if name in offered]
                if usable:
                    self._free_of_processes(parent, hierarchy)
                    self._enable(parent, usable)
                base = f"{parent}/{self.name}"
                self._make(base)
                if usable:
                    self._enable(base, usable)
            except OSError as error:
                for name in (*wanted, "kill"):
                    self.problems[name] = f"cannot use the group {parent}: {error.strerror}"
                continue
            self._take(base, wanted, usable)
            return

    def _take(self, base: str, wanted: list[str], usable: list[str]) -> None:
        for name in wanted:
            if name in usable:
                self.bases[name] = (2, base)
            else:
                self.problems[name] = f"the controller {name} is not passed down to {base}"
        if Path(base, "cgroup.kill").exists():
            self.bases["kill"] = (2, base)
        else:
            self.problems["kill"] = "the kernel has no cgroup.kill (older than 5.14)"

    def _version_2_parents(self, hierarchy: Hierarchy) -> list[str]:
        """Where the base may stand, best first.

        An agent that sits in the leaf made for it (by an earlier start, or by systemd's
        DelegateSubgroup=) has its delegated group above.
        """
        own = Path(hierarchy.own)
        first = str(own.parent) if own.name == LEAF else hierarchy.own
        return list(dict.fromkeys((first, hierarchy.mount)))

    def _free_of_processes(self, parent: str, hierarchy: Hierarchy) -> None:
        """Move this agent into a leaf: controllers pass down only from groups without processes.

        Refuses to move processes that are not the agent's own, such as a login shell.
        """
        if parent == hierarchy.mount and not Path(parent, "cgroup.events").exists():
            return  # the true root has no such file and may hold processes
        inside = [int(pid) for pid in procfs.read_bytes(f"{parent}/cgroup.procs").split()]
        if not inside:
            return
        strangers = set(inside) - {os.getpid(), *procfs.descendants(os.getpid())}
        if strangers:
            raise OSError(
                errno.EBUSY, f"it holds processes that are not the agent's: {sorted(strangers)[:3]}"
            )
        self._make(f"{parent}/{LEAF}")
        for pid in inside:
            write(f"{parent}/{LEAF}/cgroup.procs", str(pid))

    def _enable(self, directory: str, controllers: list[str]) -> None:
        write(f"{directory}/cgroup.subtree_control", " ".join(f"+{name}" for name in controllers))

    def _make(self, directory: str) -> None:
        try:
            self.make_directory(directory)
        except FileExistsError:
            return
