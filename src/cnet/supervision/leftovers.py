"""Ending what a run left behind when its shim did not live to do it.

A killed shim takes the command with it (parent death signal), but not what the command started:
those are found by control group, by process group, and by the cookie in their environment, which
also finds daemons that left session, group and parent behind. Blocking: for worker threads.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from cnet.supervision import cgroup_group, procfs

COOKIE = "CNET_RUN_ID"
GIVE_UP_AFTER_S = 30.0
INTERVAL_S = 0.01


def end_run(run_id: str, record: Mapping[str, Any] | None) -> list[int]:
    """Kill everything that belongs to the run, shim included, until nothing is left.

    `record` is its `shim.json` of this boot, or None. Returns the pids that outlived some 30 s of
    it (stuck in the kernel); normally empty. Removes the control groups of the run.
    """
    directories = list(record["cgroups"]) if record is not None else []
    deadline = time.monotonic() + GIVE_UP_AFTER_S
    while left := _living(run_id, record, directories):
        if time.monotonic() > deadline:
            return left
        for directory in directories:
            with suppress(OSError):  # the group has just been removed
                cgroup_group.kill([directory])
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(INTERVAL_S)
    for directory in directories:
        cgroup_group.remove(directory)
    return []


def end_group(directory: str) -> None:
    """Kill what is inside a control group that belongs to no run any more, and remove it."""
    deadline = time.monotonic() + GIVE_UP_AFTER_S
    while cgroup_group.members(directory) and time.monotonic() < deadline:
        cgroup_group.kill([directory])
        time.sleep(INTERVAL_S)
    cgroup_group.remove(directory)


def _living(run_id: str, record: Mapping[str, Any] | None, directories: list[str]) -> list[int]:
    found = set(procfs.pids_with_environment(f"{COOKIE}={run_id}".encode()))
    for directory in directories:
        found.update(pid for pid in cgroup_group.members(directory) if procfs.start_time(pid))
    if record is not None:
        for pid, start in ((record["shim_pid"], record["shim_start"]), _command(record)):
            if procfs.is_same_process(pid, start):
                found.add(pid)
                found.update(procfs.descendants(pid))
    return sorted(found - {os.getpid()})


def _command(record: Mapping[str, Any]) -> tuple[int, int]:
    return record["pid"], record["start"]
