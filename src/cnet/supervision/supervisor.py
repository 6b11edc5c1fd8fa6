"""Starts, finds again and removes runs: the agent's side of supervision.

Owns the spawner and the watch over every run; the runs themselves belong to their shims and go on
without it. Decides nothing about workloads: when to start, restart or stop is the manager's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup, TaskStatus

from cnet.errors import CnetError, ExecutionError, TransientError
from cnet.supervision import housekeeping, procfs, records
from cnet.supervision.cgroups import Cgroups
from cnet.supervision.keeper import Keeper
from cnet.supervision.launch import MAX_ATTEMPTS, Launch
from cnet.supervision.run import Run
from cnet.supervision.run_directory import RunDirectory, Standing
from cnet.supervision.values import RunExit, RunSpec, check, resolve_user

CLEANERS = 2  # threads that search /proc for what killed shims left; each costs a core
MAKERS = 4  # threads that make run directories; they wait for the disk most of the time


class Supervisor:
    """The runs whose directories are below `root`. One live Supervisor per root at a time.

    `run` must be running for `launch` and `attach`. All methods but `sweep` belong to its event
    loop. `cgroups` is found by itself; given, it is used as it is.
    """

    def __init__(self, root: Path, *, cgroups: Cgroups | None = None) -> None:
        self._root = root.absolute()
        self._keeper = Keeper(self, self._root, cgroups=cgroups)
        self._boot_id = procfs.boot_id()
        self._launches: dict[str, Launch] = {}
        self._runs: dict[str, Run] = {}
        self._tasks: TaskGroup | None = None
        self._cleaners = anyio.CapacityLimiter(CLEANERS)
        self._makers = anyio.CapacityLimiter(MAKERS)

    # -- life ----------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep a spawner alive until cancelled; `started()` once launches can be served.

        Waits for the spawner of an earlier agent to settle and go. Raises ExecutionError when a
        spawner cannot be started at all. On cancellation runs go on, and waiters are told.
        """
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                await self._keeper.run(task_status=task_status)
            finally:
                self._let_go()
                tasks.cancel_scope.cancel()

    def _let_go(self) -> None:
        """Stop watching: the agent ends, the runs do not."""
        loop = asyncio.get_running_loop()
        for run in list(self._runs.values()):
            if run.pidfd >= 0:
                loop.remove_reader(run.pidfd)
            run.settle(None)
        self._runs.clear()
        for launch in self._launches.values():
            if launch.pidfd >= 0:
                loop.remove_reader(launch.pidfd)
                os.close(launch.pidfd)
            launch.fail(TransientError("the agent is shutting down; the launch may have happened"))
        self._launches.clear()

    # -- launching -----------------------------------------------------------------------------

    async def launch(self, spec: RunSpec) -> Run:
        """Start `spec` and return once its command has been executed.

        Raises SpecError for a field that cannot be used; ConflictError when this attempt was
        launched before; StorageFullError; ExecutionError (code `exec_failed`, `start_failed` or,
        when its lease was over by then, `lease_expired`) when the command could not be started;
        TransientError when the supervisor closes first.
        Cancelled or closed, the launch may still happen: `attach` tells.
        """
        check(spec)
        user = resolve_user(spec.run_as)
        if self._keeper.closed:
            raise TransientError("the supervisor is closed")
        directory = RunDirectory(self._root, spec.workload_id, spec.attempt)
        # In a thread: making inodes waits for the file system's journal, milliseconds at times.
        create = partial(directory.create, spec, user=user, boot_id=self._boot_id)
        await anyio.to_thread.run_sync(create, limiter=self._makers)
        if self._keeper.closed:
            raise TransientError("the supervisor is closed")
        launch = Launch(directory)
        self._launches[directory.key] = launch
        if self._keeper.ready.is_set():
            self._ask(launch)
        return await launch.outcome()

    def _ask(self, launch: Launch) -> None:
        launch.attempts += 1
        self._keeper.send(launch.directory.key)

    def on_ready(self) -> None:
        """A spawner holds the lock: whatever an earlier one was asked is settled now."""
        self._keeper.ready.set()
        for launch in list(self._launches.values()):
            if launch.pidfd < 0 and not launch.settling:
                self._resolve(launch)

    def on_forked(self, key: str, pidfd: int | None) -> None:
        """Watch the shim; a shim that has ended already is seen to at once."""
        launch = self._launches.get(key)
        if launch is None or launch.pidfd >= 0:
            if pidfd is not None:
                os.close(pidfd)
        elif pidfd is None:
            self._shim_ended(launch)
        else:
            self._follow(launch, pidfd)

    def on_started(self, key: str) -> None:
        """The command runs: hand out the Run as soon as there is a pidfd to watch it by."""
        launch = self._launches.get(key)
        if launch is not None:
            launch.started = True
            if launch.pidfd >= 0:
                self._promote(launch)

    def on_refused(self, key: str, sentence: str) -> None:
        """No process could be made for it."""
        launch = self._launches.get(key)
        if launch is not None:
            self._fail(launch, ExecutionError(sentence, code="start_failed"))

    def _resolve(self, launch: Launch) -> None:
        """Decide by its directory about a launch that the last spawner left open."""
        standing = launch.directory.judge(self._boot_id)
        if standing is Standing.UNUSED:
            self._ask_again(launch)
        elif standing is Standing.LIVE and (pidfd := launch.directory.open_pidfd()) is not None:
            self._follow(launch, pidfd)
        else:
            self._shim_ended(launch)

    def _ask_again(self, launch: Launch) -> None:
        if launch.attempts >= MAX_ATTEMPTS:
            self._fail(
                launch,
                ExecutionError(
                    f"the supervising process ended {launch.attempts} times before it could "
                    f"start the command; {self._root}/spawner.log says why",
                    code="start_failed",
                ),
            )
            return
        if self._keeper.ready.is_set():
            self._ask(launch)

    def _follow(self, launch: Launch, pidfd: int) -> None:
        launch.pidfd = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._launching_shim_ended, launch)
        if launch.started:
            self._promote(launch)

    def _launching_shim_ended(self, launch: Launch) -> None:
        asyncio.get_running_loop().remove_reader(launch.pidfd)
        os.close(launch.pidfd)
        launch.pidfd = -1
        self._shim_ended(launch)

    def _shim_ended(self, launch: Launch) -> None:
        """The shim is gone before `started` was heard: failed, quick, or killed."""
        directory = launch.directory
        ended = directory.exit()
        if ended is not None and ended.never_ran and ended.reason is not None:
            self._fail(launch, ExecutionError(ended.details or ended.reason, code=ended.reason))
        elif ended is not None:
            self._conclude(launch, ended)
        elif directory.record() is None:
            self._ask_again(launch)
        elif not launch.settling and self._tasks is not None:
            launch.settling = True
            self._tasks.start_soon(self._settle_lost_launch, launch, name=f"lost {directory.key}")

    async def _settle_lost_launch(self, launch: Launch) -> None:
        self._conclude(launch, await self._lose(launch.directory))

    def _conclude(self, launch: Launch, ended: RunExit) -> None:
        run = Run(launch.directory, launch.directory.record() or {}, pidfd=-1)
        run.settle(ended)
        self._launches.pop(launch.directory.key, None)
        launch.succeed(run)

    def _fail(self, launch: Launch, error: CnetError) -> None:
        self._launches.pop(launch.directory.key, None)
        launch.fail(error)

    def _promote(self, launch: Launch) -> None:
        """From launching to running: the same pidfd now reports the end of the run."""
        record = launch.directory.record()
        if record is None:
            raise AssertionError(f"{launch.directory.path} says started but has no record")
        self._launches.pop(launch.directory.key, None)
        launch.succeed(self._adopt(launch.directory, launch.pidfd))

    # -- watching ------------------------------------------------------------------------------

    def _adopt(self, directory: RunDirectory, pidfd: int) -> Run:
        run = Run(directory, directory.record() or {}, pidfd=pidfd)
        self._runs[directory.key] = run
        asyncio.get_running_loop().add_reader(pidfd, self._run_ended, run)
        return run

    def _run_ended(self, run: Run) -> None:
        asyncio.get_running_loop().remove_reader(run.pidfd)
        ended = run.directory.exit()
        if ended is not None:
            self._settle(run, ended)
        elif self._tasks is not None:
            self._tasks.start_soon(self._settle_lost_run, run, name=f"lost {run.directory.key}")

    async def _settle_lost_run(self, run: Run) -> None:
        self._settle(run, await self._lose(run.directory))

    def _settle(self, run: Run, ended: RunExit) -> None:
        self._runs.pop(run.directory.key, None)
        run.settle(ended)

    async def _lose(self, directory: RunDirectory) -> RunExit:
        """Kill what a dead shim left behind, then write the exit for it."""
        return await anyio.to_thread.run_sync(
            partial(housekeeping.lose, directory, boot_id=self._boot_id),
            limiter=self._cleaners,
            abandon_on_cancel=True,
        )

    # -- finding again -------------------------------------------------------------------------

    async def attach(self, workload_id: str, attempt: int) -> Run | RunExit | None:
        """What has become of a launch, this agent's or an earlier one's.

        A Run when it lives (it may still be on its way into its command), a RunExit when it has
        ended or was lost; what a lost run left behind is killed before this returns. None when
        nothing was ever run: the directory is gone and the attempt may be launched.
        """
        while not self._keeper.ready.is_set():  # a new event comes with each spawner
            await self._keeper.ready.wait()
        if self._keeper.closed:
            raise TransientError("the supervisor is closed")
        directory = RunDirectory(self._root, workload_id, attempt)
        if launch := self._launches.get(directory.key):
            with suppress(ExecutionError):  # its exit record says the same
                return await launch.outcome()
        if run := self._runs.get(directory.key):
            return run
        return await self._attach_by_directory(directory)

    async def _attach_by_directory(self, directory: RunDirectory) -> Run | RunExit | None:
        standing = directory.judge(self._boot_id)
        if standing is Standing.LIVE:
            pidfd = directory.open_pidfd()
            if pidfd is not None:
                return self._adopt(directory, pidfd)
            standing = directory.judge(self._boot_id)  # it has just ended
        if standing is Standing.UNUSED:
            await anyio.to_thread.run_sync(
                partial(housekeeping.discard, directory, cgroups=self._keeper.cgroups),
                limiter=self._cleaners,
                abandon_on_cancel=True,
            )
            return None
        return directory.exit() or await self._lose(directory)

    def running(self, workload_id: str, attempt: int) -> Run | None:
        """A run that is watched; None when there is none, or it has ended."""
        return self._runs.get(RunDirectory(self._root, workload_id, attempt).key)

    # -- files ---------------------------------------------------------------------------------

    def workload_dir(self, workload_id: str) -> Path:
        """Where the run directories and the log of a workload are."""
        return self._root / workload_id

    def log_path(self, workload_id: str) -> Path:
        """The newest log file of a workload; older ones end in `.1`, `.2`, ..."""
        return self.workload_dir(workload_id) / records.OUTPUT_LOG

    def remove(self, workload_id: str) -> None:
        """Delete a workload's directory with its logs; harmless when there is none.

        Raises ConflictError while one of its runs lives.
        """
        mine = f"{workload_id}/"
        live = any(key.startswith(mine) for key in (*self._launches, *self._runs))
        housekeeping.remove(self.workload_dir(workload_id), live=live)

    def sweep(self, known: Collection[str]) -> list[str]:
        """Kill and remove runs, directories and control groups of workloads not in `known`.

        Returns the ids of those workloads. For the agent's start, before anything is launched.
        Blocking, some milliseconds where there is nothing to do; may run in a worker thread.
        """
        return housekeeping.sweep(
            self._root, known, cgroups=self._keeper.cgroups, boot_id=self._boot_id
        )

    @property
    def spawner_pid(self) -> int | None:
        """The pid of the present spawner, once it is ready."""
        return self._keeper.pid

    def describe_limits(self) -> dict[str, str]:
        """How memory, cpu and pids limits are enforced on this node, in sentences; after `run`."""
        return {} if self._keeper.cgroups is None else self._keeper.cgroups.describe()
