"""Files out of data objects onto the local disk: resumed where cut off, checked, then renamed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from cnet.client import JsonObject
from cnet.client.data import CHUNK, DataClient
from cnet.errors import SpecError, TransientError


def targets(
    paths: Sequence[str], dest: Path | None, *, name: str, below: str, single: bool
) -> list[Path]:
    """Where each file goes: with its path below the folder `below`, in DEST, else in `name`.

    Raises SpecError for a path that would lead out of DEST.
    """
    if single:
        own = _safe(paths[0]).name
        if dest is None:
            return [Path(own)]
        return [dest / own if dest.is_dir() else dest]
    folder = dest or Path(_safe(name).name)
    return [folder / _safe(path.removeprefix(below)) for path in paths]


def _safe(path: str) -> PurePosixPath:
    """The agent is not trusted with where files are written."""
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts) or not _names_a_file(path):
        raise SpecError(f"{path!r} cannot be written below a folder", field="DEST")
    return PurePosixPath(path)


def _names_a_file(path: str) -> bool:
    try:
        return b"\0" not in path.encode()
    except UnicodeEncodeError:
        return False


def fetch(
    data: DataClient,
    data_key: str,
    file: JsonObject,
    target: Path,
    passed: Callable[[int], None],
) -> None:
    """One file. SpecError where it cannot be written, TransientError when other bytes came."""
    digest = str(file["sha256"])
    part = target.with_name(f".{target.name[:40]}.{digest[:16]}.part")
    try:
        if _is_there(target, file):
            passed(file["size"])
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        so_far = hashlib.sha256()
        with part.open("ab+") as out:
            out.seek(0)
            while chunk := out.read(CHUNK):
                so_far.update(chunk)
                passed(len(chunk))
            start = out.tell()
            if start < file["size"]:
                with data.open(data_key, file["path"], start=start, etag=file["hash"]) as content:
                    for chunk in content:
                        if out.tell() + len(chunk) > file["size"]:
                            break  # it does not end where it should: the digest tells
                        out.write(chunk)
                        so_far.update(chunk)
                        passed(len(chunk))
        if so_far.hexdigest() != digest:
            part.unlink()
            raise TransientError(
                f"{file['path']}: what came is not what is stored; try again",
                code="digest_mismatch",
            )
        part.replace(target)
    except OSError as error:
        raise SpecError(f"{target}: {error.strerror}", field="DEST") from error


def _is_there(target: Path, file: JsonObject) -> bool:
    if not target.is_file() or target.stat().st_size != file["size"]:
        return False
    with target.open("rb") as present:
        return hashlib.file_digest(present, "sha256").hexdigest() == str(file["sha256"])
