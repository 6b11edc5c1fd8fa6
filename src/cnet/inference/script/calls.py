"""Calls of the user's program: a new process each, or a fork of an interpreter that is warm."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cnet.errors import ExecutionError
from cnet.inference.script import interpreter

_LOGGER = logging.getLogger(__name__)
_PYTHON = re.compile(r"python(3(\.\d+)?)?")
WARM_UP_S = 45
"""Seconds for the imports of a script; the agent gives a service 60 until it must answer."""
MAX_OUTPUT_BYTES = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended, and what it printed."""

    code: int
    out: str
    err: str


class Calls(Protocol):
    """How the program is called."""

    how: str
    """told in `/info`"""

    def call(self, arguments: Sequence[str], timeout_s: float) -> Outcome:
        """Wait for its end. Raises ExecutionError when it does not come; from any thread."""
        ...

    def close(self) -> None:
        """No call follows."""
        ...


class NewProcesses:
    """Starts the program for every call."""

    how = "a process for each request"

    def __init__(self, argv: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        self._argv = tuple(argv)
        self._folder = folder
        self._env = env

    def call(self, arguments: Sequence[str], timeout_s: float) -> Outcome:
        """See `Calls`."""
        try:
            done = subprocess.run(
                [*self._argv, *arguments],
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _too_slow(timeout_s) from None
        except OSError as error:
            raise ExecutionError(
                f"{self._argv[0]}: {error.strerror}", code="model_failed"
            ) from error
        out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        return Outcome(done.returncode, out, err)

    def close(self) -> None:
        """Nothing is kept."""


class WarmInterpreter:
    """Forks of one interpreter that has the script's imports done. Raises OSError when made."""

    how = "forks of a warm interpreter"

    def __init__(self, argv: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        command, script = argv
        self._argv = (command, str(Path(interpreter.__file__)))
        self._script = script
        self._folder = folder
        self._env = env
        self._turn = threading.Lock()
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [*self._argv, str(number), self._script],
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                pass_fds=[number],
            )
        ours.settimeout(WARM_UP_S)
        self._control = ours
        try:
            if ours.recv(1) != interpreter.READY:
                raise OSError("the interpreter has ended")
        except OSError:
            self.close()
            raise

    def call(self, arguments: Sequence[str], timeout_s: float) -> Outcome:
        """See `Calls`."""
        with self._ask() as connection:
            connection.settimeout(timeout_s)
            pid = b""
            try:
                while not pid.endswith(b"\n"):
                    pid += _some(connection, 1)
                connection.sendall(json.dumps(list(arguments)).encode())
                connection.shutdown(socket.SHUT_WR)
                return _outcome(connection)
            except TimeoutError:
                _end(pid)
                raise _too_slow(timeout_s) from None
            except OSError:
                raise ExecutionError(
                    "the script ended without an answer; the log may say why", code="model_failed"
                ) from None

    def _ask(self) -> socket.socket:
        """A connection to a new fork; the interpreter is started anew if it has ended."""
        ours, theirs = socket.socketpair()
        with theirs, self._turn:
            try:
                socket.send_fds(self._control, [b"."], [theirs.fileno()])
            except OSError:
                _LOGGER.warning(
                    "the interpreter has ended (%s); starting another", self._end_code()
                )
                try:
                    self._start()
                    socket.send_fds(self._control, [b"."], [theirs.fileno()])
                except OSError as error:
                    ours.close()
                    raise ExecutionError(
                        f"no interpreter for the script: {error}", code="model_failed"
                    ) from error
        return ours

    def _end_code(self) -> int:
        self.close()
        return self._process.wait()

    def close(self) -> None:
        """The interpreter ends when it hears no more of us; what it forked may end its work."""
        self._control.close()
        self._process.kill()
        self._process.wait()


def calls_of(argv: Sequence[str], folder: Path, env: Mapping[str, str]) -> Calls:
    """Warm where the program is Python and it works, else a process each."""
    if len(argv) == 2 and _PYTHON.fullmatch(Path(argv[0]).name):
        try:
            return WarmInterpreter(argv, folder, env)
        except OSError as error:
            _LOGGER.warning("%s cannot be kept warm (%s): a process each", argv[0], error)
    return NewProcesses(argv, folder, env)


def _outcome(connection: socket.socket) -> Outcome:
    told = bytearray()
    while piece := connection.recv(65_536):
        told += piece
        if len(told) > MAX_OUTPUT_BYTES:
            raise ExecutionError("the script prints too much", code="model_failed")
    if not told:
        raise ConnectionResetError
    return Outcome(**json.loads(told))


def _some(connection: socket.socket, most: int) -> bytes:
    piece = connection.recv(most)
    if not piece:
        raise ConnectionResetError
    return piece


def _end(pid: bytes) -> None:
    if pid.strip().isdigit():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            _LOGGER.info("the script ended in this very moment")


def _too_slow(timeout_s: float) -> ExecutionError:
    return ExecutionError(f"the script gave no answer within {timeout_s:g} s", code="model_failed")
