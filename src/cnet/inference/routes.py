"""What may stand behind a path of a service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cnet.inference.replies import Reply
from cnet.inference.runtime import PredictRequest


@dataclass(frozen=True, slots=True)
class AtOnce:
    """Answers GET and HEAD in the event loop; must not take long."""

    answer: Callable[[], Reply]
    methods: tuple[str, ...] = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class ByWork:
    """Answers POST in a worker thread, told how many CPUs it may keep busy."""

    work: Callable[[PredictRequest, int], Reply]
    methods: tuple[str, ...] = ("POST",)


Route = AtOnce | ByWork


class RouteSource(Protocol):
    """A protocol beside the plain routes."""

    def find(self, path: str) -> Route:
        """What answers `path`; NotFoundError naming what there is."""
        ...
