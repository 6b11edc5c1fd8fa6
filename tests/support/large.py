"""Objects that nobody holds as a whole, and the memory of the process that serves them."""

from __future__ import annotations

import hashlib
import io
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MIB = 1 << 20
SIZE = int(os.environ.get("CNET_TEST_LARGE_GIB", "1")) << 30
"""Of the large objects of these tests, in bytes."""
MORE_MIB = 64
"""What serving them may take beyond the memory of the idle process."""


class Source(io.RawIOBase):
    """A stream of `size` bytes, no two of its MiB alike, with the hash of what was read of it."""

    def __init__(self, size: int = SIZE) -> None:
        super().__init__()
        self._blocks = blocks(size)
        self._left = memoryview(b"")
        self.hash = hashlib.sha256()

    def readable(self) -> bool:
        """It is read, in order and once."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """See io.RawIOBase."""
        if not self._left:
            self._left = memoryview(next(self._blocks, b""))
        view = memoryview(buffer)
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self.hash.update(view[:count])
        self._left = self._left[count:]
        return count


class Sink(io.RawIOBase):
    """Takes a stream and keeps its hash and its size."""

    def __init__(self) -> None:
        super().__init__()
        self.hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        """It is written, in order and once."""
        return True

    def write(self, data: Any, /) -> int:
        """See io.RawIOBase."""
        view = memoryview(data)
        self.hash.update(view)
        self.size += len(view)
        return len(view)


def blocks(size: int) -> Iterator[bytes]:
    """`size` bytes, a whole number of MiB, one MiB at a time."""
    assert size % MIB == 0
    filling = random.Random(size).randbytes(MIB - 8)
    for number in range(size // MIB):
        yield number.to_bytes(8, "big") + filling


class Memory:
    """How far the resident memory of a process rises over what it is now."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self.idle_mib = self._mib("VmRSS")
        (self._folder / "clear_refs").write_text("5")  # the peak begins anew: proc_pid_clear_refs

    def check(self, what: str) -> None:
        """Print the peak; AssertionError where it is too high."""
        more = self._mib("VmHWM") - self.idle_mib
        print(f"{what}: {more:.1f} MiB over the {self.idle_mib:.1f} MiB of an idle process")
        assert more < MORE_MIB

    def _mib(self, name: str) -> float:
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))
