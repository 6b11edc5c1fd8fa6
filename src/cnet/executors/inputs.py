"""Brings stored data to where a run needs them: from this node's store, or from another node."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import anyio
import anyio.to_thread
import structlog

from cnet.errors import (
    CnetError,
    ExecutionError,
    NotFoundError,
    SpecError,
    StorageFullError,
    TransientError,
    UnreachableError,
)
from cnet.executors.data_refs import DataRef, Input
from cnet.executors.remote import ChangedError, RemoteData, RemoteFile
from cnet.storage.base import FileInfo
from cnet.storage.cache import FileCache, Write, room_wanted
from cnet.storage.objects import DataObject, DataObjects

log = structlog.get_logger(__name__)

TRIES = 8
FIRST_PAUSE_S = 0.1
LAST_PAUSE_S = 5.0
AT_ONCE = 4
"""Files of one run that are under way at a time."""
PAGE = 1_000
READ_ONLY = 0o400
NOWHERE = "no_such_data"


@dataclass(frozen=True, slots=True)
class _Piece:
    """One file to be placed."""

    source: FileInfo | RemoteFile
    path: PurePosixPath
    """in what was asked for; `.` is that file itself"""
    name: str


@dataclass(frozen=True, slots=True)
class _Way:
    """How the inputs of one run are brought."""

    owner: str | None
    linked: bool
    tell: Callable[[str], None]

    def tell_of(self, file: RemoteFile, came: int = 0) -> None:
        ref = DataRef(file.data_key, file.path)
        of = f"{_mib(came)} of {_mib(file.size)} MiB"
        self.tell(f"{ref}: {of} from {file.node_id}")


class Inputs:
    """One per agent."""

    def __init__(self, objects: DataObjects, cache: FileCache, remote: RemoteData) -> None:
        self._objects = objects
        self._cache = cache
        self._remote = remote

    async def require(self, inputs: Iterable[Input]) -> None:
        """Raises SpecError for a key of which it is known that nobody has it. For a submit."""
        for each in inputs:
            ref = each.ref
            if self._objects.find(ref.data_key) is not None:
                continue
            found = await self._remote.find(ref.data_key)
            if found.node_id is None and not found.silent:
                raise SpecError(
                    f"{each.field}: {ref} is not stored on any node that can be asked from here",
                    field=each.field,
                    code=NOWHERE,
                )

    async def place(
        self,
        inputs: Sequence[Input],
        folder: Path,
        *,
        owner: str | None,
        linked: bool,
        tell: Callable[[str], None],
    ) -> Mapping[Input, Path]:
        """Put data below a folder, which is emptied before; says where each of them is.

        `linked`: the files may be those of the store itself, for programs that surely never write
        to them. `tell` is given a sentence about what is on its way. Raises ExecutionError,
        SpecError, StorageFullError; other than these mean a bug.
        """
        pause_s = FIRST_PAUSE_S
        for tries_left in reversed(range(TRIES)):
            try:
                await anyio.to_thread.run_sync(_empty, folder)
                return {
                    each: await self._place(each, folder, _Way(owner, linked, tell))
                    for each in inputs
                }
            except (StorageFullError, ExecutionError, SpecError):
                raise
            except TransientError as error:
                if not tries_left:
                    raise ExecutionError(
                        f"could not be fetched: {error.message}",
                        code=NOWHERE if error.code == NOWHERE else "data_unreachable",
                    ) from error
                log.warning("fetch_failed", folder=str(folder), why=error.message)
            except CnetError as error:
                raise ExecutionError(error.message, code=error.code) from error
            except OSError as error:
                raise ExecutionError(
                    f"its inputs cannot be placed: {error}", code="start_failed"
                ) from error
            await anyio.sleep(pause_s)
            pause_s = min(pause_s * 2, LAST_PAUSE_S)
        raise AssertionError("the last try returns or raises")

    async def _place(self, wanted: Input, folder: Path, way: _Way) -> Path:
        pieces = await self._pieces(wanted.ref, way.owner)
        target = folder / wanted.target
        if wanted.single and len(pieces) != 1:
            raise SpecError(
                f"{wanted.field}: {wanted.ref} holds {len(pieces)} files; name one of them",
                field=wanted.field,
            )
        if wanted.inside and (wanted.single or pieces[0].path == PurePosixPath()):
            (piece,) = pieces
            target /= piece.name
            pieces = [_Piece(piece.source, PurePosixPath(), piece.name)]
        await self._put_all(pieces, target, way)
        brought = {
            piece.source.sha256: piece.source.size
            for piece in pieces
            if isinstance(piece.source, RemoteFile)
        }
        if brought:
            await self._cache.note(wanted.ref.data_key, brought)
        return target

    # --- what there is -------------------------------------------------------------------------

    async def _pieces(self, ref: DataRef, owner: str | None) -> list[_Piece]:
        """The files of a reference, at least one. Raises NotFoundError, TransientError."""
        item = self._objects.find(ref.data_key)
        named: list[tuple[str, FileInfo | RemoteFile]]
        if item is not None:
            own, is_tree = await self._here(item, ref)
            named = [(file.key.removeprefix(item.prefix), file) for file in own]
        else:
            found = await self._remote.find(ref.data_key, owner=owner)
            if found.node_id is None:
                raise _nowhere(ref, found.silent)
            there = await self._remote.files(found.node_id, ref)
            named, is_tree = [(file.path, file) for file in there.files], there.is_tree
        if not named:
            raise NotFoundError(f"{ref}: there is no such file or folder", code="no_such_file")
        return [
            _Piece(
                file,
                PurePosixPath(name).relative_to(ref.path) if is_tree else PurePosixPath(),
                PurePosixPath(name).name,
            )
            for name, file in named
        ]

    async def _here(self, item: DataObject, ref: DataRef) -> tuple[list[FileInfo], bool]:
        path = ref.path or item.single
        if path is not None:
            try:
                return [await self._objects.file(item, path)], False
            except NotFoundError:
                if not ref.path:
                    raise
        files: list[FileInfo] = []
        store, prefix = self._objects.store, item.prefix + (f"{ref.path}/" if ref.path else "")
        after: str | None = ""
        while after is not None:
            page = await store.list(item.bucket, prefix=prefix, after=after, limit=PAGE)
            files += page.files
            after = page.next_after
        return files, True

    # --- bringing it ---------------------------------------------------------------------------

    async def _put_all(self, pieces: Sequence[_Piece], target: Path, way: _Way) -> None:
        rest = iter(pieces)
        failures: list[Exception] = []
        async with anyio.create_task_group() as group:

            async def work() -> None:
                try:
                    for piece in rest:
                        await self._put(piece.source, target / piece.path, way)
                except Exception as error:  # noqa: BLE001  raised below: a group would wrap it
                    failures.append(error)
                    group.cancel_scope.cancel()

            for _ in range(AT_ONCE):
                group.start_soon(work)
        if failures:
            raise failures[0]

    async def _put(self, source: FileInfo | RemoteFile, target: Path, way: _Way) -> None:
        if isinstance(source, FileInfo):
            await self._put_own(source, target, linked=way.linked)
            return
        if not self._cache.has(source.sha256):
            way.tell_of(source)  # another run may be bringing it
        bring = partial(self._fetch, source, way)
        async with self._cache.hold(source.sha256, source.size, bring) as path:
            await anyio.to_thread.run_sync(_copy, path, target, way.linked)

    async def _fetch(self, file: RemoteFile, way: _Way, write: Write) -> None:
        came = 0

        async def pass_on(data: bytes) -> None:
            nonlocal came
            await write(data)
            came += len(data)
            way.tell_of(file, came)

        await self._remote.read(file, pass_on)
        log.info(
            "data_fetched",
            data_key=file.data_key,
            path=file.path,
            size=file.size,
            from_node=file.node_id,
        )

    async def _put_own(self, file: FileInfo, target: Path, *, linked: bool) -> None:
        store = self._objects.store
        path = store.local_path(file)
        try:
            if path is not None:
                await anyio.to_thread.run_sync(_copy, Path(path), target, linked)
                return
            await anyio.to_thread.run_sync(_make_parent, target)
            async with store.open(file) as body, await anyio.open_file(target, "xb") as out:
                async for chunk in body:
                    with room_wanted():
                        await out.write(chunk)
            await anyio.Path(target).chmod(READ_ONLY)
        except (FileNotFoundError, NotFoundError) as error:
            raise ChangedError(f"{file.key} was deleted or replaced meanwhile") from error


def _mib(size: int) -> str:
    return f"{size / 1024**2:.1f}"


def _nowhere(ref: DataRef, silent: Sequence[str]) -> TransientError:
    """Worth another try either way: right after its start an agent knows of no others."""
    if silent:
        named = ", ".join(sorted(silent)[:5])
        return UnreachableError(
            f"{ref}: no node that answers has it; these did not answer: {named}"
        )
    return TransientError(
        f"{ref}: no node that can be asked from here has {ref.data_key!r}", code=NOWHERE
    )


def _empty(folder: Path) -> None:
    discard(folder)
    with room_wanted():
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700)


def discard(folder: Path) -> None:
    """Remove the inputs of a run; harmless when there are none. Blocking. Raises OSError."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return


def _make_parent(target: Path) -> None:
    with room_wanted():
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise _clash(target) from error


def _copy(source: Path, target: Path, linked: bool) -> None:
    """A file of its own, or another name of the same one where that may be."""
    _make_parent(target)
    with room_wanted():
        try:
            if linked and _link(source, target):
                return
            with source.open("rb") as content, target.open("xb") as copy:
                shutil.copyfileobj(content, copy, 1024**2)
        except (FileExistsError, IsADirectoryError) as error:
            raise _clash(target) from error
        target.chmod(READ_ONLY)


def _link(source: Path, target: Path) -> bool:
    try:
        target.hardlink_to(source)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError:  # another file system, or one without links
        return False
    return True


def _clash(target: Path) -> ExecutionError:
    return ExecutionError(
        f"two inputs want to be {target.name!r}, or one is a file where another has a folder",
        code="input_conflict",
    )
