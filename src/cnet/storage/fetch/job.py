"""What the agent tells the program: a JSON file that only its user may read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from cnet.storage.objects import DataObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One fetch."""

    root: str
    """of the store"""
    database: str | None
    method: Literal["file", "url", "path", "directory"]
    source: str | None
    content: str | None
    """base64, for `file`"""
    content_type: str | None
    sha256: str | None
    """what a single file must turn out to be"""
    item: DataObject
    """what the object is to be; its `run` names the stage"""
    roots: tuple[str, ...]
    allow_private: bool
    timeout_s: float
    max_bytes: int
    max_files: int

    def to_json(self) -> bytes:
        """The file's content."""
        return orjson.dumps(asdict(self))


def read_job(path: Path) -> Job:
    """The inverse of `to_json`."""
    record: dict[str, Any] = orjson.loads(path.read_bytes())
    record["item"] = DataObject(**record["item"])
    record["roots"] = tuple(record["roots"])
    return Job(**record)
