"""`data`: something to be stored on this node, from the request, the disk or a URL."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import orjson

from cnet.errors import ExecutionError, SpecError, StorageFullError, TransientError
from cnet.executors.base import Run, Task
from cnet.executors.commands import Command, CommandExecutor, LogLimits
from cnet.executors.data_config import KIND, DataConfig
from cnet.executors.data_objects import describe, object_of, require_free
from cnet.executors.handover import hand_over
from cnet.executors.roots import DataPlaces
from cnet.model.resources import MIB
from cnet.storage.fetch.addresses import is_private_literal
from cnet.storage.fetch.job import Job
from cnet.storage.objects import DataObjects
from cnet.supervision import RunExit, RunSpec, Supervisor, Usage, tail

LEAST_MEMORY = 256 * MIB
"""The program that fetches gets so much, whatever was asked for."""
_SOURCES = {"url": "source_url", "path": "source_path", "directory": "source_path"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """What one fetch may take; see `storage` in the configuration."""

    allow_private_urls: bool
    url_timeout_s: float
    max_object_bytes: int
    max_files: int


class DataExecutor(CommandExecutor):
    """Starts `python -m cnet.storage.fetch`, and speaks for what it has stored."""

    kind = KIND
    config_model = DataConfig

    def __init__(
        self,
        supervisor: Supervisor,
        logs: LogLimits,
        *,
        objects: DataObjects,
        places: DataPlaces,
        limits: FetchLimits,
    ) -> None:
        super().__init__(supervisor, logs)
        self._objects = objects
        self._places = places
        self._limits = limits

    async def prepare(self, config: DataConfig) -> None:
        """The key must be free, and the source one that this node may take."""
        if config.data_key is not None:
            require_free(self._objects, config.data_key)
        method = config.upload_method
        if config.source is None:
            wanted = _SOURCES.get(method, "content or content_base64")
            raise SpecError(
                f"config.{wanted}: must be given for upload_method {method!r}",
                field=f"config.{wanted}" if method in _SOURCES else "config.content",
            )
        if method in {"path", "directory"}:
            await anyio.to_thread.run_sync(
                lambda: self._places.require_source(
                    str(config.source_path), folder=method == "directory"
                )
            )
        elif method == "url" and not self._limits.allow_private_urls:
            host = urlsplit(str(config.source_url)).hostname or ""
            if is_private_literal(host):
                raise SpecError(
                    f"config.source_url: {host} is not public (storage.allow_private_urls)",
                    field="config.source_url",
                )

    def command(self, task: Task) -> Command:
        """The fetch; what it is to do stands in a file."""
        job = self._job_file(task)
        if task.config.source is None:
            return Command(argv=(sys.executable, "-S", "-c", "pass"))
        return Command(
            argv=(sys.executable, "-m", "cnet.storage.fetch", str(job)),
            env={"PYTHONUNBUFFERED": "1"},
        )

    def _run_spec(self, task: Task) -> RunSpec:
        spec = super()._run_spec(task)
        memory = spec.limits.memory_bytes
        if memory is None or memory >= LEAST_MEMORY:
            return spec
        return replace(spec, limits=replace(spec.limits, memory_bytes=LEAST_MEMORY))

    # --- runs ----------------------------------------------------------------------------------

    async def start(self, task: Task) -> Run:
        """Write the job down, then start."""
        if task.spec.run_as is not None:
            raise SpecError(
                "run_as: data is stored by the agent's own user: the store is the agent's",
                field="run_as",
            )
        config: DataConfig = task.config
        if config.source is not None:
            content = self._job(task).to_json()
            await anyio.to_thread.run_sync(hand_over, self._job_file(task), content)
        elif self._objects.of_workload(task.workload_id) is None:
            raise ExecutionError(
                "it was uploaded with its request and deleted since; there is no source to fetch "
                "it from again",
                code="no_source",
            )
        return _Fetch(await super().start(task), self, task)

    async def attach(self, task: Task) -> Run | RunExit | None:
        """The run of the program, or what came of it."""
        found = await super().attach(task)
        if isinstance(found, RunExit):
            return await self.conclude(task, found)
        return None if found is None else _Fetch(found, self, task)

    async def conclude(self, task: Task, ended: RunExit) -> RunExit:
        """What the end of the program means: the store knows whether the work was done."""
        self._objects.on_change()
        item = self._objects.of_workload(task.workload_id)
        if item is not None and item.run == task.run_id:
            return replace(ended, exit_code=0, signal=None, lost=False, reason=None, details=None)
        await self._objects.unstage(task.run_id)
        if ended.lost or ended.stopped or ended.reason is not None or not ended.exit_code:
            return ended
        reason, details = await self._said(task.workload_id)
        return replace(ended, reason=reason, details=details)

    async def _said(self, workload_id: str) -> tuple[str, str] | tuple[None, None]:
        """The error that the program's last line tells."""
        lines = await anyio.to_thread.run_sync(tail, self.log_path(workload_id), 1, 16_384)
        try:
            said = orjson.loads(lines[-1]) if lines else {}
        except orjson.JSONDecodeError:
            return None, None
        if not isinstance(said, dict) or not {"error", "details"} <= said.keys():
            return None, None
        return str(said["error"]), str(said["details"])

    def _job(self, task: Task) -> Job:
        config: DataConfig = task.config
        item = object_of(config, workload_id=task.workload_id, run=task.run_id, name=task.spec.name)
        return Job(
            root=str(self._places.root),
            database=str(self._places.database) if self._places.database else None,
            method=config.upload_method,
            source=None if config.upload_method == "file" else config.source,
            content=config.encoded_content,
            content_type=config.content_type,
            sha256=config.sha256,
            item=item,
            roots=tuple(map(str, self._places.allowed)),
            allow_private=self._limits.allow_private_urls,
            timeout_s=self._limits.url_timeout_s,
            max_bytes=self._limits.max_object_bytes,
            max_files=self._limits.max_files,
        )

    def _job_file(self, task: Task) -> Path:
        return self._supervisor.workload_dir(task.workload_id) / f"job.{task.attempt}.json"

    # --- what is left of them ------------------------------------------------------------------

    async def result(self, workload_id: str) -> Mapping[str, Any]:
        """Fields of the workload object (contract 3)."""
        item = self._objects.of_workload(workload_id)
        return {} if item is None else describe(await self._objects.contents(item))

    async def discard(self, workload_id: str) -> None:
        """Delete the object."""
        await self._objects.delete_of(workload_id)

    async def remove(self, workload_id: str) -> None:
        """Delete the object, then the run directories and the log."""
        while True:
            try:
                await self.discard(workload_id)
                break
            except StorageFullError:
                raise
            except TransientError:  # another process is at the catalogue for a minute
                await anyio.sleep(1)
        await super().remove(workload_id)


class _Fetch:
    """A run whose end is judged by what is in the store then."""

    def __init__(self, run: Run, executor: DataExecutor, task: Task) -> None:
        self._run = run
        self._executor = executor
        self._task = task

    @property
    def pid(self) -> int | None:
        return self._run.pid

    @property
    def started_at(self) -> float:
        return self._run.started_at

    @property
    def limits(self) -> Mapping[str, str]:
        return self._run.limits

    async def wait(self) -> RunExit:
        return await self._executor.conclude(self._task, await self._run.wait())

    async def stop(self, *, grace_s: float | None = None) -> None:
        await self._run.stop(grace_s=grace_s)

    def renew(self, until: float) -> None:
        self._run.renew(until)

    def usage(self) -> Usage:
        return self._run.usage()
