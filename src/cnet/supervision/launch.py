"""A launch under way: what has been heard of it so far, and who waits for its outcome."""

from __future__ import annotations

import anyio

from cnet.errors import CnetError
from cnet.supervision.run import Run
from cnet.supervision.run_directory import RunDirectory

MAX_ATTEMPTS = 10  # shims that died before they could record anything


class Launch:
    """One run directory on its way from `asked` to a Run or an error.

    The messages may come in any order: the shim's `started` can overtake the spawner's `forked`.
    """

    __slots__ = ("attempts", "directory", "done", "error", "pidfd", "run", "settling", "started")

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.attempts = 0
        self.pidfd = -1
        self.started = False
        self.settling = False  # what a dead shim left is being killed
        self.done = anyio.Event()
        self.run: Run | None = None
        self.error: CnetError | None = None

    def succeed(self, run: Run) -> None:
        """The command was executed (and may have ended already)."""
        self.run = run
        self.done.set()

    def fail(self, error: CnetError) -> None:
        """The command was not executed and will not be."""
        self.error = error
        self.done.set()

    async def outcome(self) -> Run:
        """The run, or raises the error; may be awaited by several tasks."""
        await self.done.wait()
        if self.error is not None:
            raise self.error
        if self.run is None:
            raise AssertionError("a launch ends with a run or an error")
        return self.run
