"""Blobs that are directories: files that follow one another, named by their offsets."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections import OrderedDict
from pathlib import Path
from typing import Final

from cnet.storage.reading import Segment

REMEMBERED: Final = 32
"""Directories whose layout is kept in memory; 10,000 files take 80 KB."""


def name_at(offset: int) -> str:
    """The name of the file that begins there; names sort like offsets."""
    return f"{offset:016x}"


class Layouts:
    """Where the files of joined blobs begin. They never change, so they are read once."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, array[int]] = OrderedDict()

    def segments(self, directory: Path) -> list[Segment]:
        """All of them in order. Raises FileNotFoundError."""
        bounds = self._bounds(directory)
        return self.cut(directory, 0, bounds[-1])

    def cut(self, directory: Path, start: int, length: int) -> list[Segment]:
        """What a range touches. Raises FileNotFoundError when the directory is gone."""
        bounds = self._bounds(directory)
        end = min(start + length, bounds[-1])
        index = max(bisect_right(bounds, start) - 1, 0)
        cut: list[Segment] = []
        while start < end:
            first, behind = bounds[index], min(bounds[index + 1], end)
            cut.append(Segment(f"{directory}/{name_at(first)}", start - first, behind - start))
            start = behind
            index += 1
        return cut

    def _bounds(self, directory: Path) -> array[int]:
        """Where each file begins, and where the last one ends."""
        known = self._known.get(directory.name)
        if known is None:
            known = _read_bounds(directory)
            self._known[directory.name] = known
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return known


def _read_bounds(directory: Path) -> array[int]:
    names = sorted(os.listdir(directory))  # noqa: PTH208 - names are all that is needed
    if not names:
        raise FileNotFoundError(directory)  # somebody is removing it
    bounds = array("Q", (int(name, 16) for name in names))
    bounds.append(bounds[-1] + (directory / names[-1]).stat().st_size)
    return bounds
