"""`data://<data_key>[/path]`: how a config names stored data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from cnet.errors import SpecError
from cnet.model.data import SCHEME
from cnet.storage.names import check_data_key, check_relative_path


@dataclass(frozen=True, slots=True)
class DataRef:
    """A data object, or a file or folder in it."""

    data_key: str
    path: str = ""
    """empty: all of it"""

    def __str__(self) -> str:
        return f"{SCHEME}{self.data_key}/{self.path}" if self.path else SCHEME + self.data_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Stored data that a run needs, and where it is to be put."""

    ref: DataRef
    target: PurePosixPath
    """below the folder of the run's inputs"""
    field: str
    """of the request, for errors"""
    inside: bool = False
    """a single file is put into `target` under its own name, not in its place"""
    single: bool = False
    """it must be one file"""


def is_ref(text: str) -> bool:
    """Whether a value names stored data."""
    return text.startswith(SCHEME)


def parse_ref(text: str) -> DataRef:
    """Raises ValueError for what no data object could be called. Names are taken as they are."""
    if not is_ref(text):
        raise ValueError(f"{text!r} must be data://<data_key>, or data://<data_key>/<path>")
    data_key, slash, path = text.removeprefix(SCHEME).partition("/")
    try:
        check_data_key(data_key)
        if slash:
            check_relative_path(path, data_key=data_key)
    except SpecError as error:
        raise ValueError(f"{text!r}: {error.message}") from None
    return DataRef(data_key, path)


def check_path(text: str) -> str:
    """The same text; ValueError for a reference that is none. For fields that take paths, too."""
    if is_ref(text):
        parse_ref(text)
    return text


def check_target(text: str) -> str:
    """The same text, if it is a place below a folder; else ValueError."""
    try:
        check_relative_path(text.removesuffix("/"))
    except SpecError as error:
        raise ValueError(f"target {text!r}: {error.message}") from None
    return text
