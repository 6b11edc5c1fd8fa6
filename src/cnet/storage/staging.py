"""Many files into one stage: a few at a time, so that small ones share what syncing costs."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.abc import TaskGroup

from cnet.errors import SpecError, TooLargeError
from cnet.storage.base import Body, Expected, FileInfo
from cnet.storage.names import check_relative_path
from cnet.storage.objects import DataObjects

AT_ONCE: Final = 16
DEFAULT_TYPE: Final = "application/octet-stream"


class Stager:
    """Use inside `staging`. What goes wrong with any file ends the whole."""

    def __init__(
        self,
        objects: DataObjects,
        stage: str,
        group: TaskGroup,
        *,
        max_bytes: int,
        max_files: int,
    ) -> None:
        self._objects = objects
        self._stage = stage
        self._group = group
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._slots = anyio.Semaphore(AT_ONCE)
        self._paths: set[str] = set()
        self._folders: set[str] = set()
        self.error: Exception | None = None
        self.size = 0
        """bytes read so far"""
        self.last: FileInfo | None = None
        """the file that was stored last"""

    @property
    def count(self) -> int:
        """Number of files so far."""
        return len(self._paths)

    async def add(
        self,
        path: str,
        body: Body,
        *,
        content_type: str | None = None,
        sha256: str | None = None,
    ) -> None:
        """Begin to store a file; waits only while many others are under way.

        Raises SpecError for a path that is not taken, or is there already.
        """
        self._enter(path)
        await self._slots.acquire()
        self._group.start_soon(
            self._store, path, body, content_type or guess_type(path), Expected(sha256=sha256)
        )

    def fail(self, error: Exception) -> None:
        """Give everything up; the first error counts."""
        self.error = self.error or error
        self._group.cancel_scope.cancel()

    def _enter(self, path: str) -> None:
        check_relative_path(path, field="files")
        if path in self._paths:
            raise SpecError(f"files: {path!r} is there twice", field="files")
        parts = path.split("/")
        folders = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        if path in self._folders or folders & self._paths:
            raise SpecError(f"files: {path!r} is a file and a folder at once", field="files")
        if len(self._paths) >= self._max_files:
            raise TooLargeError(f"files: more than {self._max_files} (storage.max_files)")
        self._paths.add(path)
        self._folders |= folders

    async def _store(self, path: str, body: Body, content_type: str, expected: Expected) -> None:
        try:
            self.last = await self._objects.stage(
                self._stage, path, self._counted(body), content_type=content_type, expected=expected
            )
        except Exception as error:  # noqa: BLE001 - `staging` raises it
            self.fail(error)
        finally:
            self._slots.release()

    async def _counted(self, body: Body) -> AsyncIterator[bytes]:
        async for chunk in body:
            self.size += len(chunk)
            if self.size > self._max_bytes:
                raise _too_large(self._max_bytes)
            yield chunk


@asynccontextmanager
async def staging(
    objects: DataObjects, stage: str, *, max_bytes: int, max_files: int
) -> AsyncIterator[Stager]:
    """All files that were added are durable at the end; after an error none is left."""
    try:
        async with anyio.create_task_group() as group:
            stager = Stager(objects, stage, group, max_bytes=max_bytes, max_files=max_files)
            try:
                yield stager
            except Exception as error:  # noqa: BLE001 - a task group would wrap it
                stager.fail(error)
        if stager.error is not None:
            raise stager.error
    except BaseException:
        await objects.unstage(stage)
        raise


async def bounded(body: Body, max_bytes: int) -> AsyncIterator[bytes]:
    """The same content. Raises TooLargeError once it is larger."""
    size = 0
    async for chunk in body:
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        yield chunk


def _too_large(max_bytes: int) -> TooLargeError:
    return TooLargeError(f"content: larger than {max_bytes} bytes (storage.max_object_bytes)")


def guess_type(path: str) -> str:
    """The media type that the name of a file suggests."""
    return mimetypes.guess_type(path, strict=False)[0] or DEFAULT_TYPE
