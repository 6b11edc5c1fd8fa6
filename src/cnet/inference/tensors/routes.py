"""`/predict` of a model with tensors, as a route whose requests may go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

from cnet.inference.replies import Reply, success
from cnet.inference.routes import ByTensors
from cnet.inference.runtime import PredictRequest, ServesTensors, Signature
from cnet.inference.tensors import plain
from cnet.inference.tensors.batching import Asked, Batches
from cnet.inference.tensors.datatypes import Array


@dataclass(frozen=True, slots=True)
class PlainCall:
    """A request to `/predict`; times of `perf_counter`."""

    asked: Asked
    started: float
    decoded: float

    @classmethod
    def read(cls, request: PredictRequest, signature: Signature) -> PlainCall:
        """SpecError for whatever is wrong with it."""
        started = perf_counter()
        return cls(plain.read(request, signature), started, perf_counter())

    def reply(self, answers: Mapping[str, Array]) -> Reply:
        """What is answered."""
        return success(plain.write(self.asked, answers, started=self.started, decoded=self.decoded))


def predict(runtime: ServesTensors, batches: Batches) -> ByTensors:
    """The route."""
    return ByTensors(
        read=lambda request: PlainCall.read(request, runtime.signature),
        work=batches.work,
        whole=lambda request, cpus: success(plain.answer(runtime, request, threads=cpus)),
        label="/predict",
    )
