"""Which folders of this node data may come from, and where they are kept."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from cnet.errors import SpecError
from cnet.storage.opening import CATALOGUE


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlaces:
    """The store of a node, and the folders below which users may name paths."""

    root: Path
    """of the store"""
    database: Path | None = None
    """the catalogue, where it is not in `root`"""
    allowed: tuple[Path, ...] = ()

    @property
    def keys_file(self) -> Path:
        """Access keys for gateways; it need not exist."""
        return self.root / "keys.json"

    def of(self, base_path: str | None) -> DataPlaces:
        """The same for another store of this node; None: this one."""
        if base_path is None or _real(base_path) == _real(self.root):
            return self
        return replace(self, root=_real(base_path), database=None)

    def require_store(self, base_path: str) -> None:
        """Raises SpecError unless it is the node's own root or below an allowed one. Blocking."""
        field = "config.base_path"
        try:
            path = _real(base_path)
        except ValueError:  # a NUL
            raise SpecError(f"{field}: must not contain a NUL character", field=field) from None
        if path == _real(self.root):
            return
        if not any(path.is_relative_to(_real(each)) for each in self.allowed):
            raise SpecError(
                f"{field}: {base_path!r} is neither the data folder of this node nor "
                "below one of storage.roots; leave it out to serve the node's own data",
                field=field,
            )
        if not _is_there(path / CATALOGUE, folder=False):
            raise SpecError(f"{field}: there is no store in {base_path!r}", field=field)

    def require_source(self, source_path: str, *, folder: bool) -> None:
        """Raises SpecError unless it is there, below an allowed folder. Blocking."""
        field = "config.source_path"
        if not self.allowed:
            raise SpecError(
                f"{field}: this node takes no files from its disk; its operator may allow folders "
                "with storage.roots",
                field=field,
            )
        try:
            path = _real(source_path)
        except ValueError:  # a NUL
            raise SpecError(f"{field}: must not contain a NUL character", field=field) from None
        # The same answer for what is outside as for what is not there: nothing is told of it.
        allowed = Path(source_path).is_absolute() and any(
            path.is_relative_to(_real(each)) for each in self.allowed
        )
        if not allowed or not _is_there(path, folder=folder):
            what = "folder" if folder else "file"
            raise SpecError(
                f"{field}: {source_path!r} is no {what} below one of storage.roots of this node; "
                "it must be an absolute path",
                field=field,
            )


def _is_there(path: Path, *, folder: bool) -> bool:
    try:
        return path.is_dir() if folder else path.is_file()
    except OSError:  # too long a name, or a folder that may not be looked into
        return False


def _real(path: str | Path) -> Path:
    """Without symlinks and `..`; of what is not there, as far as it is."""
    return Path(os.path.realpath(path))
