"""A few runs inside the spawner itself, before its memory is frozen and shared.

CPython specialises bytecode and fills caches while it runs, by writing into memory. Done here, it
is done once for all shims; done after the fork, every shim pays for its own copies (measured: a
quarter of a shim's private memory). Standard library only.
"""

# pathlib would cost every shim memory:
# ruff: noqa: PTH102, PTH106, PTH108, PTH112, PTH208

from __future__ import annotations

import os
import signal
import socket

from cnet.supervision import lease, procfs, records
from cnet.supervision.command import Command
from cnet.supervision.shim import Shim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cnet.supervision.cgroups import Cgroups

DIRECTORY = ".rehearsal"
ROUNDS = 8


def rehearse(root: str, cgroups: Cgroups) -> None:
    """Run a command that does nothing, as a shim would, up to the point of the exit record.

    For a process without children, holding the lock of the run directories, SIGCHLD blocked.
    """
    directory = f"{root}/{DIRECTORY}"
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        _clear(directory)
        for _ in range(ROUNDS):
            _run_once(directory, cgroups)
            _clear(directory)
    finally:
        signal.signal(signal.SIGCHLD, before)


def _run_once(directory: str, cgroups: Cgroups) -> None:
    os.mkdir(directory, 0o700)
    lease.create(directory, lease.MAX_S)
    records.write_json(directory, records.SPEC, _spec(directory))
    claim = records.claim(directory)
    spec = records.read_json(directory, records.SPEC)
    if claim is None or spec is None:
        raise RuntimeError(f"{directory} is used by somebody else")
    agent, other_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = Command()
    command.start(
        spec,
        directory=directory,
        cgroups=cgroups,
        spawner_lock=os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC),
        boot_id=procfs.boot_id(),
    )
    shim = Shim(spec, command, directory=directory)
    shim.announce(agent, "rehearsal")
    shim.watch()
    shim.close()
    command.group.remove()
    other_end.close()
    os.close(claim)


def _spec(directory: str) -> dict[str, object]:
    names = ("memory_bytes", "cpu_weight_millicores", "cpu_quota_millicores", "pids")
    return {
        "run_id": "rehearsal",
        "argv": ["/bin/sh", "-c", ":"],
        "env": {"PATH": os.defpath},
        "cwd": "/",
        "grace_s": 1.0,
        "limits": dict.fromkeys(names),
        "run_as": None,
        "leased": True,
        "log": {"path": f"{directory}/{records.OUTPUT_LOG}", "max_bytes": 4096, "files": 1},
    }


def _clear(directory: str) -> None:
    if not os.path.isdir(directory):
        return
    for name in os.listdir(directory):
        os.unlink(f"{directory}/{name}")
    os.rmdir(directory)
