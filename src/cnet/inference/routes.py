"""What may stand behind a path of a service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cnet.inference.lanes import Work
from cnet.inference.replies import Reply
from cnet.inference.runtime import PredictRequest


@dataclass(frozen=True, slots=True)
class AtOnce:
    """Answers GET and HEAD in the event loop; must not take long."""

    answer: Callable[[], Reply]
    label: str = "other"
    methods: tuple[str, ...] = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Aside:
    """Answers GET and HEAD in a thread that no prediction waits for, told the header `Accept`."""

    answer: Callable[[str], Reply]
    label: str = "other"
    methods: tuple[str, ...] = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class ByWork:
    """Answers POST in a worker thread, told how many CPUs it may keep busy."""

    work: Callable[[PredictRequest, int], Reply]
    label: str = "other"
    methods: tuple[str, ...] = ("POST",)


class TensorCall(Protocol):
    """A request for tensors that has been understood."""

    @property
    def asked(self) -> Any:
        """`tensors.batching.Asked`."""
        ...

    def reply(self, answers: Mapping[str, Any]) -> Reply:
        """What is answered."""
        ...


@dataclass(frozen=True, slots=True)
class ByTensors:
    """Answers POST; the model is asked together with others.

    `read` understands a small body in the event loop, and `work` is what the model is then asked.
    A large one is dealt with in a worker thread, by `whole`.
    """

    read: Callable[[PredictRequest], TensorCall]
    work: Callable[[Any], Work]
    whole: Callable[[PredictRequest, int], Reply]
    label: str = "other"
    methods: tuple[str, ...] = ("POST",)


Route = AtOnce | Aside | ByWork | ByTensors


class RouteSource(Protocol):
    """A protocol beside the plain routes."""

    def find(self, path: str) -> Route:
        """What answers `path`; NotFoundError naming what there is."""
        ...
