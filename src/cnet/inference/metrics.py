"""What a service counts of itself while it works; `exposition` writes it for Prometheus.

Plain numbers, changed in the event loop only: a request costs two microseconds of it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


class Histogram:
    """How many values lay at or below each of `bounds` and above the one before it."""

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@dataclass
class Metrics:
    """The figures of one service. Times in seconds."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    """by route and status"""
    latency: defaultdict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    """by route, from the headers of a request to its answer"""
    errors: Counter[str] = field(default_factory=Counter)
    """by the word in the answer"""
    gone: int = 0
    """requests whose client hung up before they were answered"""
    wait: Histogram = field(default_factory=Histogram)
    """in line, of requests that began"""
    run: Histogram = field(default_factory=Histogram)
    """of the model, or all that a worker thread does for a request"""
    batch_requests: Histogram = field(default_factory=lambda: Histogram(COUNTS))
    batch_rows: Histogram = field(default_factory=lambda: Histogram(COUNTS))
    retried: int = 0
    """batches that failed and were answered one request after the other"""
    waiting: int = 0
    running: int = 0
    load_s: float = 0.0

    def answered(self, route: str, status: int, code: str, seconds: float) -> None:
        """Count an answer; `code` is empty where it tells of no error."""
        self.requests[route, status] += 1
        self.latency[route].observe(seconds)
        if code:
            self.errors[code] += 1
