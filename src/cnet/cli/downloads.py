"""Files out of data objects onto the local disk: resumed where cut off, checked, then renamed."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path, PurePosixPath

from cnet.client import JsonObject
from cnet.client.data import CHUNK, Content, DataClient
from cnet.errors import BadGatewayError, SpecError, TransientError

TRIES = 4
"""In a row that bring nothing; then the command ends, and what has come stays."""
PAUSE_S = 1.0
_PART = re.compile(r"(.+)\.[0-9a-f]{16}\.part")
_STEM_BYTES = 200


def targets_of(
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


class Downloads:
    """Files of one object. What has come of one is beside its target, `<name>.<digest>.part`."""

    def __init__(
        self,
        data: DataClient,
        data_key: str,
        passed: Callable[[int], None],
        *,
        targets: Collection[Path] = (),
        pause_s: float = PAUSE_S,
    ) -> None:
        """`targets`: all there will be; none of them is ever taken for a part."""
        self._data = data
        self._data_key = data_key
        self._passed = passed
        self._targets = frozenset(targets)
        self._pause_s = pause_s
        self._parts: dict[Path, dict[str, list[Path]]] = {}
        self._counted = 0
        self.part: Path | None = None
        """what has come of the file that is being brought"""

    @property
    def kept(self) -> int:
        """Bytes that have come of the file that is being brought."""
        part = self.part
        return part.stat().st_size if part is not None and part.exists() else 0

    def fetch(self, file: JsonObject, target: Path) -> None:
        """One file, going on by itself while the connection breaks now and then.

        Raises SpecError where it cannot be written, TransientError when other bytes came.
        """
        wanted = dict(file)
        self.part, self._counted = None, 0
        tries_left = TRIES
        while True:
            before = self.kept
            try:
                self._fetch(wanted, target)
            except OSError as error:
                raise SpecError(f"{target}: {error.strerror}", field="DEST") from error
            except TransientError as error:
                tries_left = TRIES if self.kept > before else tries_left - 1
                if not tries_left or error.code == "digest_mismatch":
                    raise
                time.sleep(self._pause_s)
            else:
                self.part = None
                return

    def _fetch(self, wanted: JsonObject, target: Path) -> None:
        if _is_there(target, wanted):
            self._count(wanted["size"])
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        self.part = _part(target, wanted["sha256"])
        self._drop_older(target, self.part)
        with self.part.open("ab+") as out:
            so_far = hashlib.sha256()
            out.seek(0)
            while chunk := out.read(CHUNK):
                so_far.update(chunk)
                self._count(out.tell())
            start = out.tell()
            if start < wanted["size"]:
                with self._data.open(
                    self._data_key, wanted["path"], start=start, etag=wanted["hash"]
                ) as content:
                    if content.start != start:  # it is another file by now
                        out.truncate(0)
                        so_far = hashlib.sha256()
                    self._take_version(wanted, content, target)
                    for chunk in content.pieces:
                        if out.tell() + len(chunk) > wanted["size"]:
                            break  # it does not end where it should: the digest tells
                        out.write(chunk)
                        so_far.update(chunk)
                        self._count(out.tell())
        if so_far.hexdigest() != wanted["sha256"]:
            self.part.unlink()
            raise TransientError(
                f"{wanted['path']}: what came is not what is stored; try again",
                code="digest_mismatch",
            )
        self.part.replace(target)

    def _take_version(self, wanted: JsonObject, content: Content, target: Path) -> None:
        """The version that is sent may be a newer one than the list told of."""
        if self.part is None or content.sha256 in {None, wanted["sha256"]}:
            return
        if content.size is None:
            raise BadGatewayError(f"{wanted['path']}: the agent does not say how large it is")
        wanted |= {"sha256": content.sha256, "size": content.size, "hash": content.etag}
        self.part = self.part.rename(_part(target, str(content.sha256)))

    def _count(self, position: int) -> None:
        if position > self._counted:
            self._passed(position - self._counted)
            self._counted = position

    def _drop_older(self, target: Path, part: Path) -> None:
        """Remove parts of versions that are not there any more."""
        folder = target.parent
        if folder not in self._parts:
            parts: dict[str, list[Path]] = {}
            self._parts[folder] = parts
            for path in folder.iterdir():
                found = _PART.fullmatch(path.name)
                if found is not None and path not in self._targets:
                    parts.setdefault(found[1], []).append(path)
        for path in self._parts[folder].get(_stem(target), ()):
            if path != part:
                path.unlink(missing_ok=True)


def _part(target: Path, digest: str) -> Path:
    return target.with_name(f"{_stem(target)}.{digest[:16]}.part")


def _stem(target: Path) -> str:
    """Short enough for what is put behind it."""
    return os.fsencode(target.name)[:_STEM_BYTES].decode(errors="ignore")


def _is_there(target: Path, file: JsonObject) -> bool:
    if not target.is_file() or target.stat().st_size != file["size"]:
        return False
    with target.open("rb") as present:
        return hashlib.file_digest(present, "sha256").hexdigest() == str(file["sha256"])
