"""From the workload's output pipe into its log files, moved by the kernel and bounded in size.

No line is looked at. Whatever happens to the disk, the pipe is emptied: a workload must never
stall or die because its log cannot be written. Standard library only.
"""

# pathlib would cost every shim memory:
# ruff: noqa: PTH104, PTH108

from __future__ import annotations

import errno
import fcntl
import os
import termios
import time

CHUNK_BYTES = 65_536  # a pipe holds no more unless told so
RETRY_AFTER_S = 1.0  # how long output is dropped before the disk is tried again
DRAIN_LIMIT_BYTES = 1_048_576  # the largest pipe an unprivileged process can have


class LogPump:
    """Writes what comes out of `pipe` to `path`, `path.1`, ... of at most `max_bytes` each.

    `files` counts all of them; the newest output is in `path`. The only writer of these files.
    `dropped_bytes` counts what a full or broken disk did not take.
    """

    __slots__ = ("_fd", "_files", "_max_bytes", "_path", "_pipe", "_position", "_retry_at",
                 "_splices", "dropped_bytes")  # fmt: skip

    def __init__(self, pipe: int, path: str, *, max_bytes: int, files: int) -> None:
        os.set_blocking(pipe, False)
        self._pipe = pipe
        self._path = path
        self._max_bytes = max_bytes
        self._files = files
        self._fd = -1
        self._position = 0
        self._retry_at = 0.0
        self._splices = True
        self.dropped_bytes = 0

    def pump(self) -> bool:
        """Move one chunk; False once every holder of the other end has closed it."""
        return self._move() != 0

    def drain(self) -> None:
        """Move what is in the pipe now, waiting for nobody who still holds the other end."""
        moved = 0
        while moved < DRAIN_LIMIT_BYTES:
            step = self._move()
            if step <= 0:
                return
            moved += step

    def close(self) -> None:
        """Close the log file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _move(self) -> int:
        """Bytes moved or dropped, 0 at the end of the pipe, -1 when it is empty for now."""
        try:
            if self._fd < 0 and not self._holds_bytes():
                return self._drop()  # a silent command gets no file
            if time.monotonic() < self._retry_at:
                return self._drop()
            try:
                self._make_room()
                return self._transfer(min(CHUNK_BYTES, self._max_bytes - self._position))
            except BlockingIOError:
                raise
            except OSError:
                # Full disk, quota, I/O error: keep the workload going, try again later.
                self._retry_at = time.monotonic() + RETRY_AFTER_S
                return self._drop()
        except BlockingIOError:
            return -1

    def _transfer(self, count: int) -> int:
        moved = self._splice(count) if self._splices else self._copy(count)
        self._position += moved
        return moved

    def _splice(self, count: int) -> int:
        try:
            return os.splice(self._pipe, self._fd, count)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
        self._splices = False  # this file system cannot take pipe buffers
        return self._copy(count)

    def _copy(self, count: int) -> int:
        data = os.read(self._pipe, count)
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            self._position += written
            self.dropped_bytes += len(data) - written
            self._retry_at = time.monotonic() + RETRY_AFTER_S
            return len(data) - written
        return written

    def _drop(self) -> int:
        count = len(os.read(self._pipe, CHUNK_BYTES))
        self.dropped_bytes += count
        return count

    def _holds_bytes(self) -> bool:
        cell = bytearray(4)
        fcntl.ioctl(self._pipe, termios.FIONREAD, cell)
        return any(cell)

    def _make_room(self) -> None:
        if self._fd < 0:
            self._open()
        if self._position >= self._max_bytes:
            self.close()
            self._rotate()
            self._open()

    def _open(self) -> None:
        # Not O_APPEND: splice refuses it.
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._position = os.lseek(self._fd, 0, os.SEEK_END)

    def _rotate(self) -> None:
        if self._files == 1:
            os.unlink(self._path)
            return
        for number in range(self._files - 1, 0, -1):
            older = self._path if number == 1 else f"{self._path}.{number - 1}"
            try:
                os.rename(older, f"{self._path}.{number}")
            except FileNotFoundError:
                continue
