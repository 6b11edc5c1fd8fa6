"""Data on other nodes, as executors see them; see `cnet.agent.neighbours`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cnet.errors import TransientError
from cnet.executors.data_refs import DataRef
from cnet.storage.cache import Write


class ChangedError(TransientError):
    """Data are not any more what they were a moment ago; look again."""

    code = "data_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where data are, or who could not be asked."""

    node_id: str | None
    """the node to ask for them"""
    passes_on: bool = False
    """it may know of them only, and hands requests on"""
    silent: Sequence[str] = ()
    """nodes that are known, and gave no answer"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file of a data object on another node."""

    node_id: str
    data_key: str
    path: str
    """in the object"""
    size: int
    sha256: str
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFiles:
    """What a reference stands for."""

    files: Sequence[RemoteFile]
    is_tree: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Data objects of all nodes that answered, by key, and the nodes that did not."""

    data: Sequence[Mapping[str, Any]]
    """as those nodes describe them"""
    more: bool
    silent: Sequence[str]


class RemoteData(Protocol):
    """Reads what other nodes store."""

    async def page(self, *, after: str, limit: int) -> Listing:
        """Objects behind a key on all known nodes, this one too: `limit` keys at most."""
        ...

    async def find(self, data_key: str, *, owner: str | None = None) -> Found:
        """A node that has the object; `owner`, the node that submitted the work, is asked first."""
        ...

    async def files(self, node_id: str, ref: DataRef) -> RemoteFiles:
        """What `ref` stands for there. Raises NotFoundError, TransientError."""
        ...

    async def read(self, file: RemoteFile, write: Write) -> None:
        """Write exactly that version. Raises ChangedError, TransientError."""
        ...
