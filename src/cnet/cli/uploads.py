"""Local files into data objects: what to send, and an upload that goes on where it was cut off."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnet.client import AgentClient, JsonObject
from cnet.client.data import Source, chunks
from cnet.errors import NotFoundError, SpecError


def sources_of(path: Path) -> list[Source]:
    """Every file of PATH with the path it gets."""
    if not path.is_dir():
        return [Source(path.resolve().name, path)]
    found = [
        Source(file.relative_to(path).as_posix(), file)
        for file in sorted(path.rglob("*"))
        if not file.is_dir()
    ]
    if not found:
        raise SpecError(f"PATH: {path} holds no file", field="PATH")
    return found


def size_of(file: Path) -> int:
    """In bytes. Raises SpecError."""
    try:
        return file.stat().st_size
    except OSError as error:
        raise SpecError(f"{file}: {error.strerror}", field="PATH") from error


@dataclass(frozen=True, slots=True)
class Updated:
    """What an update came to."""

    sent: int
    """files"""
    unchanged: int
    """files"""
    size: int
    """bytes that were sent"""


def update(
    client: AgentClient,
    sources: Sequence[Source],
    *,
    tree: bool,
    name: str,
    config: JsonObject,
    passed: Callable[[int], None],
) -> Updated:
    """Send the files that are not there with the same content, one by one.

    The first one makes the object if it is not there. What is cut off has sent whole files only,
    so that the same again goes on. Raises SpecError.
    """
    key = str(config["data_key"])
    if config["access_mode"] == "readonly":
        raise SpecError(
            "--access: readwrite or exclusive goes with --update: readonly data are stored whole "
            "or not at all",
            field="--access",
        )
    there = _there(client, key)
    size = unchanged = 0
    for source in sources:
        length = size_of(source.file)
        if there is None:
            client.data.upload([source], tree=tree, name=name, config=config, sent=passed)
            there = {}
        elif _is_same(source.file, length, there.get(source.path)):
            unchanged += 1
            passed(length)
            continue
        else:
            client.data.write(key, source.path, chunks(source.file, passed))
        size += length
    return Updated(sent=len(sources) - unchanged, unchanged=unchanged, size=size)


def _there(client: AgentClient, key: str) -> dict[str, JsonObject] | None:
    """The files of the object by path; None if there is no object."""
    try:
        return {file["path"]: file for file in client.data.files(key)}
    except NotFoundError:
        return None


def _is_same(file: Path, size: int, there: JsonObject | None) -> bool:
    if there is None or there["size"] != size:
        return False
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == str(there["sha256"])
    except OSError as error:
        raise SpecError(f"{file}: {error.strerror}", field="PATH") from error
