"""Files of this machine's disk, never any outside of the allowed folders.

What counts is where an opened file is, not where its path seemed to lead: the path may be changed
at any moment by whoever owns the folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path

import anyio.to_thread

from cnet.errors import NotFoundError, SpecError

CHUNK = 1024 * 1024
FIELD = "config.source_path"


def tree(folder: Path, roots: Sequence[Path]) -> Iterator[tuple[str, AsyncIterator[bytes]]]:
    """Every file below a folder, as (relative path, content), in the order of the names.

    A symlink to a file inside the allowed folders counts as that file; any other symlink, and what
    is neither file nor folder, is an error: nothing is left out silently.
    """
    _require_inside(folder, roots)
    waiting = [(folder, "")]
    while waiting:
        path, prefix = waiting.pop()
        folders: list[tuple[Path, str]] = []
        for entry in _entries(path):
            relative = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append((path / entry.name, f"{relative}/"))
            else:
                yield relative, read(path / entry.name, roots)
        waiting += reversed(folders)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from error


async def read(path: Path, roots: Sequence[Path]) -> AsyncIterator[bytes]:
    """The content of one file. Raises SpecError when it is not one inside the allowed folders."""
    descriptor = await anyio.to_thread.run_sync(_open, path, roots)
    try:
        while chunk := await anyio.to_thread.run_sync(partial(os.read, descriptor, CHUNK)):
            yield chunk
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(descriptor)


def _open(path: Path, roots: Sequence[Path]) -> int:
    try:
        # Not yet opened for reading: that alone may block (a pipe) or have effects (a device).
        found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    try:
        name = f"/proc/self/fd/{found}"
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise SpecError(f"{FIELD}: {str(path)!r} is not a file", field=FIELD)
        _require_inside(Path(name), roots, shown=path)
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(found)


def _require_inside(path: Path, roots: Sequence[Path], *, shown: Path | None = None) -> None:
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(os.path.realpath(root)) for root in roots):
        raise SpecError(
            f"{FIELD}: {str(shown or path)!r} leads out of the folders of storage.roots",
            field=FIELD,
        )


def _unreadable(path: Path, error: Exception) -> NotFoundError | SpecError:
    why = error.strerror if isinstance(error, OSError) else str(error)
    kind = NotFoundError if isinstance(error, FileNotFoundError) else SpecError
    return kind(f"{FIELD}: {str(path)!r} cannot be read: {why}")
