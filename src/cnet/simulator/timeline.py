"""Virtual time: events in the order of their moments, one seeded source of chance, and a digest."""

from __future__ import annotations

import heapq
import random
import zlib
from collections.abc import Callable
from typing import Any


class Timeline:
    """Nothing happens but what is put here; the same seed gives the same events."""

    def __init__(self, seed: int, *, keep_story: bool = False) -> None:
        self.now = 0.0
        """seconds since the beginning"""
        self.chance = random.Random(seed)  # noqa: S311
        self.events = 0
        self.digest = 0
        """of all that was noted; two runs with the same digest went the same way"""
        self.story: list[str] | None = [] if keep_story else None
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def after(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        """Call it `delay_s` seconds from now; of two at one moment, the one put first is first."""
        self._number += 1
        heapq.heappush(self._heap, (self.now + delay_s, self._number, call, args))

    def step(self) -> None:
        """The next event. Raises IndexError when there is none."""
        self.now, number, call, args = heapq.heappop(self._heap)
        self.events += 1
        self.digest = zlib.crc32(b"%d %d" % (number, int(self.now * 1e9)), self.digest)
        call(*args)

    def run_until(self, moment: float) -> None:
        """All events up to a moment, which it is then."""
        while self._heap and self._heap[0][0] <= moment:
            self.step()
        self.now = max(self.now, moment)

    def note(self, text: str) -> None:
        """Something happened that tells one course of events from another."""
        self.digest = zlib.crc32(text.encode(), self.digest)
        if self.story is not None:
            self.story.append(f"{self.now:10.3f} {text}")

    def between(self, least: float, most: float) -> float:
        """A number by chance."""
        return least + (most - least) * self.chance.random()

    def happens(self, probability: float) -> bool:
        """Whether something of that probability happens."""
        return probability > 0 and self.chance.random() < probability
