"""Copying what a container says from the engine into the log of its workload, once each.

The engine keeps the output of a container as long as that exists, with the time of every line. How
far it has been copied is noted beside the log after every write, so that an agent that comes back
cuts off what was not noted and goes on where it was.
"""

from __future__ import annotations

import math
import os
import re
import struct
from datetime import datetime
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from cnet.executors.commands import LogLimits
from cnet.executors.container.engine import Engine, EngineAwayError, EngineError
from cnet.executors.container.multiplex import Demultiplexer

log = structlog.get_logger(__name__)

CHUNK_BYTES = 262_144
RETRY_S = 1.0
MAX_FILES = 100
FINAL_TRIES = 3
SILENT_S = 300.0
"""By then an engine has surely said what there is."""
_NOTE = struct.Struct("=QQQQ")
_STAMP = re.compile(r"(?P<whole>[\d-]+T[\d:]+)(?:\.(?P<fraction>\d+))?(?P<zone>Z|[+-]\d\d:\d\d)")
NS_PER_S = 1_000_000_000


class Frames:
    """Takes the engine's log apart: pieces of output, a time before each."""

    def __init__(self) -> None:
        self._pieces = Demultiplexer()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Pieces that are complete by now, with their times in nanoseconds since 1970.

        Raises ValueError for what is no such stream, and when the engine says in it what is wrong.
        """
        found = []
        for _, stamped in self._pieces.feed(data):
            stamp, _, piece = stamped.partition(b" ")
            found.append((nanoseconds(stamp.decode("ascii")), piece))
        return found


def nanoseconds(stamp: str) -> int:
    """RFC 3339 with up to nine digits behind the point, as nanoseconds. Raises ValueError."""
    found = _STAMP.fullmatch(stamp)
    if found is None:
        raise ValueError(f"{stamp!r} is no time")
    seconds = int(datetime.fromisoformat(found["whole"] + found["zone"]).timestamp())
    return seconds * NS_PER_S + int(((found["fraction"] or "") + "0" * 9)[:9])


class LogFile:
    """The log of a workload and the note of how far one of its runs was copied. Blocking."""

    def __init__(self, log_path: Path, position: Path, limits: LogLimits) -> None:
        self._log = log_path
        self._position = position
        self._limits = limits
        self._fd = -1
        self._note_fd = -1
        self._inode = 0
        self._offset = 0
        self._count = 0
        self._again = 0
        self._since_ns = 0
        self.time_ns = 0
        """of the latest piece that was written"""

    def open(self) -> None:
        """Take up the note of an earlier agent, and cut off what it has not noted.

        Raises OSError.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._note_fd = os.open(self._position, flags, 0o600)
        content = os.pread(self._note_fd, _NOTE.size, 0)
        self._open_log()
        self.time_ns = self._count = 0
        if len(content) == _NOTE.size:
            inode, offset, self.time_ns, self._count = _NOTE.unpack(content)
            self._cut(inode, offset)
        self._since_ns, self._again = self.time_ns, self._count
        self._note()

    def close(self) -> None:
        """Harmless when repeated."""
        for fd in (self._fd, self._note_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._note_fd = -1

    def take(self, pieces: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """Those that are new: the engine tells those of the time that was noted once more."""
        new = []
        for time_ns, piece in pieces:
            if time_ns == self._since_ns and self._again:
                self._again -= 1
            elif time_ns >= self._since_ns:
                new.append((time_ns, piece))
        return new

    def write(self, pieces: list[tuple[int, bytes]]) -> None:
        """Append them and note that. Raises OSError; what was not noted is cut off by `open`."""
        for time_ns, _ in pieces:
            if time_ns > self.time_ns:
                self.time_ns, self._count = time_ns, 0
            self._count += time_ns == self.time_ns
        data = memoryview(b"".join(piece for _, piece in pieces))
        while data:
            if self._offset >= self._limits.max_bytes:
                self._rotate()
            written = os.write(self._fd, data[: self._limits.max_bytes - self._offset])
            self._offset += written
            data = data[written:]
        self._note()

    def _note(self) -> None:
        note = _NOTE.pack(self._inode, self._offset, self.time_ns, self._count)
        os.pwrite(self._note_fd, note, 0)

    def _cut(self, inode: int, offset: int) -> None:
        if inode == self._inode:
            os.ftruncate(self._fd, min(offset, self._offset))
        else:  # it was rotated since, and nothing of the new file is noted
            os.ftruncate(self._fd, 0)
            self._cut_former(inode, offset)
        self._offset = os.fstat(self._fd).st_size

    def _cut_former(self, inode: int, offset: int) -> None:
        pieces = [piece for n in range(1, MAX_FILES) if (piece := self._piece(n)).exists()]
        inodes = [piece.stat().st_ino for piece in pieces]
        if inode not in inodes:
            return  # so much was said that it is gone
        noted = inodes.index(inode)
        os.truncate(pieces[noted], min(offset, pieces[noted].stat().st_size))
        for piece in pieces[:noted]:  # written after the note
            piece.unlink()
        for number, piece in enumerate(pieces[noted:], 1):
            piece.replace(self._piece(number))

    def _piece(self, number: int) -> Path:
        return self._log.with_name(f"{self._log.name}.{number}")

    def _open_log(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._log, flags, 0o600)
        status = os.fstat(self._fd)
        self._inode, self._offset = status.st_ino, status.st_size

    def _rotate(self) -> None:
        os.close(self._fd)
        self._fd = -1
        names = [self._log, *(self._piece(n) for n in range(1, self._limits.files))]
        if len(names) == 1:
            self._log.unlink(missing_ok=True)
        for older, newer in reversed(list(zip(names[1:], names, strict=False))):
            if newer.exists():
                newer.replace(older)
        self._open_log()


class LogCopy:
    """Copies the output of one container, as it comes and to its end."""

    def __init__(self, engine: Engine, container_id: str, file: LogFile) -> None:
        self._engine = engine
        self._path = f"containers/{container_id}/logs"
        self._file = file

    async def follow(self) -> None:
        """Until cancelled. Whatever goes wrong is tried again: the engine keeps the output."""
        while True:
            try:
                await self._copy(follow=True)
            except EngineAwayError:
                await self._engine.until_there()
            except (EngineError, OSError, ValueError) as error:
                log.warning("log_not_copied", log=self._path, why=str(error))
                await anyio.sleep(RETRY_S)
            await anyio.sleep(RETRY_S)  # it has ended, or a driver keeps nothing to be followed

    async def finish(self) -> None:
        """What was not copied of a container that has ended. Raises EngineAwayError."""
        for _ in range(FINAL_TRIES):
            try:
                await self._copy(follow=False)
                break
            except (EngineError, OSError, ValueError) as error:
                why = str(error) or "the engine says nothing"
                log.warning("log_not_copied", log=self._path, why=why)

    async def _copy(self, *, follow: bool) -> None:
        frames = Frames()
        # Opened anew each time: what was written and not noted when it failed is cut off.
        await anyio.to_thread.run_sync(self._file.open)
        try:
            params, silent_s = self._params(follow=follow), math.inf if follow else SILENT_S
            with anyio.fail_after(silent_s) as patience:
                async with self._engine.stream(self._path, params) as content:
                    while data := await content.read(CHUNK_BYTES):
                        if pieces := self._file.take(frames.feed(data)):
                            await anyio.to_thread.run_sync(self._file.write, pieces)
                        patience.deadline = anyio.current_time() + silent_s
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._file.close)

    def _params(self, *, follow: bool) -> dict[str, str]:
        seconds, rest_ns = divmod(self._file.time_ns, NS_PER_S)
        return {
            "stdout": "1",
            "stderr": "1",
            "timestamps": "1",
            "follow": "1" if follow else "0",
            "since": f"{seconds}.{rest_ns:09}",
        }
