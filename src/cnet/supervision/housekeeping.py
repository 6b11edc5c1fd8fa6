"""The blocking chores around run directories: settling lost runs, removing, sweeping.

Pure files, processes and control groups; no event loop, safe in worker threads.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection
from pathlib import Path

import structlog

from cnet.errors import ConflictError
from cnet.supervision import leftovers, procfs, records
from cnet.supervision.cgroups import Cgroups
from cnet.supervision.run_directory import RunDirectory, Standing
from cnet.supervision.values import RunExit

_log = structlog.get_logger(__name__)


def lose(directory: RunDirectory, *, boot_id: str) -> RunExit:
    """Kill what is left of a run that nobody saw end, then write and return its exit."""
    spec, record = directory.spec(), directory.record()
    known = record or spec
    if known is None or known["boot_id"] != boot_id:
        return directory.write_lost(
            "node_rebooted",
            "the node was restarted while the run was under way",
            ended_at=procfs.boot_time(),
        )
    stuck = leftovers.end_run(known["run_id"], record)
    details = "the supervising process was killed; what it left behind was killed too"
    if stuck:
        details = f"the supervising process was killed; these processes could not be: {stuck}"
        _log.error("processes could not be killed", run=directory.key, pids=stuck)
    return directory.write_lost("supervisor_lost", details, ended_at=time.time())


def discard(directory: RunDirectory, *, cgroups: Cgroups | None) -> None:
    """Remove a directory in which nothing was run, and the groups its killed shim may have made."""
    spec = directory.spec()
    if spec is not None and cgroups is not None:
        for group in cgroups.run_directories().get(spec["run_id"], []):
            leftovers.end_group(group)
    directory.wipe()


def run_directories(workload: Path) -> list[RunDirectory]:
    """The run directories of one workload, by attempt."""
    attempts = sorted(
        int(entry.name) for entry in workload.iterdir() if entry.is_dir() and entry.name.isdecimal()
    )
    return [RunDirectory(workload.parent, workload.name, attempt) for attempt in attempts]


def remove(workload: Path, *, live: bool) -> None:
    """Delete a workload's directory; raises ConflictError while one of its runs lives."""
    if not workload.is_dir():
        return
    if live or any(records.is_locked(str(run.path)) for run in run_directories(workload)):
        raise ConflictError(f"workload {workload.name} still has a live run; stop it first")
    shutil.rmtree(workload)


def sweep(
    root: Path, known: Collection[str], *, cgroups: Cgroups | None, boot_id: str
) -> list[str]:
    """Kill and remove what belongs to no workload in `known`; the ids of those workloads."""
    strangers: list[str] = []
    kept_runs: set[str] = set()
    workloads = [path for path in root.iterdir() if path.is_dir() and path.name[0] != "."]
    for workload in sorted(workloads):
        runs = run_directories(workload)
        if workload.name in known:
            kept_runs.update(spec["run_id"] for run in runs if (spec := run.spec()) is not None)
            continue
        for run in runs:
            if run.judge(boot_id) in (Standing.LIVE, Standing.LOST):
                lose(run, boot_id=boot_id)
        shutil.rmtree(workload)
        strangers.append(workload.name)
    for run_id, groups in (cgroups.run_directories() if cgroups is not None else {}).items():
        if run_id not in kept_runs:
            for group in groups:
                leftovers.end_group(group)
    return strangers
