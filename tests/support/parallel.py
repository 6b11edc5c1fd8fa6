"""Tests beside each other: what keeps the workers of pytest-xdist apart, and who runs what when.

As root each worker gets a network namespace of its own, so a fixed port or a bridge of one worker
is free for every other. Nothing else is separated: a test that looks at processes, files or
control groups has to look for its own only.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

import pytest
from tools.partitions import reaper

LONGEST_FIRST = ("fuzz", "chaos", "web", "network", "containers", "packaging", "tree", "hostile")
"""Folders with tests of minutes: begun last, they would leave the other workers without work."""

_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_machine: int | None = None  # descriptor of the namespace that this process has left


def workers() -> int:
    """How many pytest processes `-n auto` makes; 0, all tests in one, without namespaces."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return 0
    # Tests mostly wait: for a process to start, a lease to end, a disk.
    return min(2 * len(os.sched_getaffinity(0)), 8)


def configure(config: pytest.Config) -> None:
    """With `-n` deal out tests as `arrange` has put them together."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "loadgroup"
        config.option.loadscopereorder = False


def leave_the_network() -> None:
    """Move this process into an empty network namespace in which 127.0.0.1 and ::1 answer.

    Only the calling thread moves, and what it starts. However this process ends, everything that
    is left in the namespace is killed then: an interrupted worker has no time to clean up.
    Without root it stays where it is.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    global _machine
    _machine = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise pytest.UsageError(f"no network namespace for this worker: {os.strerror(number)}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))
    _reap_at_the_end(Path("/proc/thread-self/ns/net").stat().st_ino)


def reaching_out() -> list[str]:
    """Words before a command that has to reach other machines, as mirrors of packages."""
    if _machine is None:
        return []
    return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{_machine}", "--"]


def _reap_at_the_end(namespace: int) -> None:
    """Let a process kill what is left in the namespace once this process is gone."""
    its, _ours = os.pipe()  # ours is never closed: the kernel does that at the end
    argv = [sys.executable, "-I", "-S", reaper.__file__, str(namespace)]
    stdin = (os.POSIX_SPAWN_DUP2, its, 0)
    os.posix_spawn(argv[0], argv, os.environ, file_actions=[stdin], setsid=True)
    os.close(its)


def arrange(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long folders first; tests that share something of their module stay on one worker.

    A mark `xdist_group` of the test's own goes before.
    """
    config.option.loadgroup = True  # workers know the command line only, not what `configure` made
    items.sort(key=_begin)
    for item in items:
        if item.get_closest_marker("xdist_group") is None and _shares(item):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def _begin(item: pytest.Item) -> int:
    folder = item.nodeid.split("/")[1]
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)


def _shares(item: pytest.Item) -> bool:
    """Whether it uses a fixture that a module makes once; unit tests are too many to deal out."""
    if item.nodeid.startswith("tests/unit/") or not isinstance(item, pytest.Function):
        return True
    names = set(item.fixturenames) - {"anyio_backend"}
    definitions = item._fixtureinfo.name2fixturedefs
    return any(
        each.scope in {"module", "package", "class"}
        for name in names
        for each in definitions.get(name, ())
    )
