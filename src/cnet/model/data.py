"""How workloads name stored data: `data://<data_key>[/path]`, anywhere in their config."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

SCHEME: Final = "data://"
_DEEP: Final = 8
"""Levels of a config that are looked through."""


def data_keys(config: Any) -> frozenset[str]:
    """Keys of the data that a config names; whether they exist is another question."""
    return frozenset(
        # A colon: of a volume, `data://<key>:/where/in/the/container`.
        text.removeprefix(SCHEME).partition("/")[0].removesuffix(":")
        for text in _texts(config, _DEEP)
    ) - {""}


def _texts(value: Any, deep: int) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith(SCHEME):
            yield value
    elif deep and isinstance(value, dict):
        for key, each in value.items():
            yield from _texts(key, 0)
            yield from _texts(each, deep - 1)
    elif deep and isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each, deep - 1)
