"""One spawner process and the agent's end of the socket to it.

Sends keys of run directories, turns the answers into calls of a `Listener`, and tells when the
process has died. Knows nothing of what the answers mean. Belongs to the event loop it was
opened in.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread

from cnet.supervision.cgroups import Cgroups

_SCRIPT = Path(__file__).with_name("spawner.py")
_LOG = "spawner.log"
_MESSAGE_BYTES = 8192
_MESSAGES_PER_CALL = 64  # then the loop gets its turn
_CLOSE_DEADLINE_S = 5.0


class Listener(Protocol):
    """Who hears what the spawner and the shims say. Called from the event loop; must not block."""

    def on_ready(self) -> None:
        """The lock of the run directories is held: every earlier claim is settled."""

    def on_forked(self, key: str, pidfd: int | None) -> None:
        """A shim for `key` was forked; the pidfd is the listener's. None: it has ended already."""

    def on_started(self, key: str) -> None:
        """The command of `key` has been executed."""

    def on_refused(self, key: str, sentence: str) -> None:
        """No shim could be forked for `key`."""


class Channel:
    """A started spawner. `open` it, `send` keys, await `died`, and `close` it."""

    def __init__(
        self, listener: Listener, agent: socket.socket, process: subprocess.Popen[bytes]
    ) -> None:
        self.pid = process.pid
        self.died = anyio.Event()
        self._listener = listener
        self._socket = agent
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)
        self._unsent: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()
        agent.setblocking(False)
        self._loop.add_reader(agent.fileno(), self._read)
        self._loop.add_reader(self._pidfd, self._on_death)

    @classmethod
    async def open(cls, listener: Listener, *, root: Path, cgroups: Cgroups) -> Channel:
        """Start a spawner for the run directories below `root`; raises OSError."""
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            try:
                process = await anyio.to_thread.run_sync(_start, root, its.fileno(), cgroups)
            except OSError:
                mine.close()
                raise
        return cls(listener, mine, process)

    def send(self, key: str) -> None:
        """Ask for a shim for `key`; in order, never blocking."""
        self._unsent.append(key.encode())
        if len(self._unsent) == 1:
            self._flush()

    def _flush(self) -> None:
        while self._unsent:
            try:
                self._socket.send(self._unsent[0], socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._flush)
                return
            except OSError:
                # It has died: the listener learns that and asks the next one.
                self._unsent.clear()
                break
            self._unsent.popleft()
        self._loop.remove_writer(self._socket.fileno())

    def _read(self) -> None:
        for _ in range(_MESSAGES_PER_CALL):
            try:
                data, fds, _, _ = socket.recv_fds(self._socket, _MESSAGE_BYTES, 1)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self.hang_up()
                return
            self._dispatch(data.decode(), fds)

    def _dispatch(self, message: str, fds: list[int]) -> None:
        word, _, rest = message.partition(" ")
        key, _, more = rest.partition(" ")
        if word == "started":
            self._listener.on_started(key)
        elif word == "forked":
            self._listener.on_forked(key, fds[0] if fds else None)
        elif word == "refused":
            self._listener.on_refused(key, more)
        else:
            self._listener.on_ready()

    def _on_death(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()  # returns at once: the descriptor said that it has ended
        self.died.set()

    def hang_up(self) -> None:
        """The other end is closed by all: the spawner and every shim that had something to say."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()

    @property
    def is_hung_up(self) -> bool:
        """Whether nothing more can be heard from it."""
        return self._socket.fileno() < 0

    @property
    def exit_code(self) -> int | None:
        """Of the process; negative for a signal, None while it lives."""
        return self._process.returncode

    async def close(self) -> None:
        """Close the agent's end and see the spawner out; runs are unaffected."""
        self.hang_up()
        with anyio.move_on_after(_CLOSE_DEADLINE_S, shield=True):
            await self.died.wait()
        if not self.died.is_set():
            # It waits for the lock of another agent's spawner and cannot notice the closed end.
            self._process.kill()
            with anyio.CancelScope(shield=True):
                await self.died.wait()


def _start(root: Path, descriptor: int, cgroups: Cgroups) -> subprocess.Popen[bytes]:
    arguments = [str(root), str(descriptor), json.dumps(cgroups.bases)]
    with (root / _LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-S", "-E", "-I", "-B", str(_SCRIPT), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd="/",
            env={},
            pass_fds=[descriptor],
            start_new_session=True,
        )
