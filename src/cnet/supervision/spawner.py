"""The fork server: started once by the agent, it forks one shim per run and knows nothing more.

Run as a script by `python -S -E -I -B` so that it stays small and starts in milliseconds: the
standard library and this folder's own standard-library modules, never the rest of the package.
Its memory is frozen before the first fork, so that the shims share it. It lives as long as the
agent holds the other end of its socket.

    argv: root of the run directories, descriptor of the socket, control groups as JSON
    in:   `workload/attempt`, a run directory below the root
    out:  `ready` · `forked key` + a pidfd of the shim · `refused key sentence`
          and from the shim itself: `started key`
"""

# pathlib would cost every shim memory:
# ruff: noqa: PTH100, PTH120

from __future__ import annotations

import errno
import fcntl
import gc
import json
import os
import signal
import socket
import sys

if __name__ == "__main__":
    # The names without their packages' code, which would import the agent.
    _HERE = os.path.dirname(os.path.abspath(__file__))
    for _name, _path in (("cnet", os.path.dirname(_HERE)), ("cnet.supervision", _HERE)):
        _package = type(sys)(_name)
        _package.__path__ = [_path]
        sys.modules[_name] = _package

from cnet.supervision import linux, procfs, records, rehearsal, shim
from cnet.supervision.cgroups import Cgroups

MAX_KEY_BYTES = 4096


class Spawner:
    """Holds the lock of the run directories and answers requests, one after the other."""

    def __init__(self, root: str, agent: socket.socket, cgroups: Cgroups) -> None:
        self._root = root
        self._agent = agent
        self._cgroups = cgroups
        self._boot_id = procfs.boot_id()
        self._lock = -1

    def run(self) -> None:
        """Wait for the lock, say so, then fork until the agent's end is closed."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._lock = os.open(f"{self._root}/{records.SPAWNER_LOCK}", flags, 0o600)
        # Held by an earlier spawner and by shims of its that have not settled their claims.
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._rehearse()
        gc.collect()
        gc.freeze()
        self._agent.send(b"ready", socket.MSG_NOSIGNAL)
        while key := self._agent.recv(MAX_KEY_BYTES):
            self._fork(key.decode())

    def _rehearse(self) -> None:
        try:
            rehearsal.rehearse(self._root, self._cgroups)
        except OSError:
            return  # a full disk: shims cost more memory then, but they must be had all the same

    def _fork(self, key: str) -> None:
        try:
            pid, pidfd = _fork()
        except OSError as error:
            self._agent.send(f"refused {key} cannot fork: {error.strerror}".encode())
            return
        if pid == 0:
            self._serve(key)
        socket.send_fds(self._agent, [f"forked {key}".encode()], [pidfd] if pidfd >= 0 else [])
        if pidfd >= 0:
            os.close(pidfd)

    def _serve(self, key: str) -> None:
        code = 1
        try:
            shim.serve(
                key,
                root=self._root,
                agent=self._agent,
                spawner_lock=self._lock,
                cgroups=self._cgroups,
                boot_id=self._boot_id,
            )
            code = 0
        except BaseException:  # noqa: BLE001  a shim must not go on as a second spawner
            sys.excepthook(*sys.exc_info())  # `traceback` would cost memory
        finally:
            os._exit(code)


def _fork() -> tuple[int, int]:
    """(pid, pidfd) of the new child, -1 for a pidfd of one that ended at once; (0, -1) in it."""
    try:
        return linux.fork()
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise
    # No clone3 (old kernel, seccomp). The kernel reaps children (SIGCHLD is ignored), so the pid
    # may be gone, but none comes back this soon.
    pid = os.fork()
    if pid == 0:
        return 0, -1
    try:
        return pid, os.pidfd_open(pid)
    except ProcessLookupError:
        return pid, -1


def main(arguments: list[str]) -> None:
    """Run the spawner until the agent closes its end."""
    root, descriptor, groups = arguments
    # Only SIGKILL or the agent's end ends it: what was asked is not to be left half done.
    signal.pthread_sigmask(
        signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
    )
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.disable()
    linux.set_process_name("cnet-spawner")
    known = json.loads(groups)
    bases = {purpose: (version, path) for purpose, (version, path) in known.items()}
    agent = socket.socket(fileno=int(descriptor))
    try:
        Spawner(root, agent, Cgroups(bases, {})).run()
    except (BrokenPipeError, ConnectionResetError):
        return  # the agent is gone


if __name__ == "__main__":
    main(sys.argv[1:])
