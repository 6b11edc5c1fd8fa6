"""The application of a service, put together by what its runtime can do."""

from __future__ import annotations

from cnet import __version__
from cnet.inference.lanes import Lanes
from cnet.inference.metrics import Metrics
from cnet.inference.openapi import document
from cnet.inference.replies import Reply, success
from cnet.inference.routes import Aside, AtOnce, Route, RouteSource
from cnet.inference.runtime import ModelRuntime, PredictsTensors, ServesTensors
from cnet.inference.server import InferenceServer


def assemble(
    runtime: ModelRuntime,
    lanes: Lanes,
    metrics: Metrics,
    *,
    name: str,
    kind: str,
    max_body_bytes: int,
    request_timeout_s: float | None = None,
) -> InferenceServer:
    """All routes in front of `runtime`, a runtime of the kind called `kind`."""
    predict: Route | None = None
    open_inference: RouteSource | None = None
    if isinstance(runtime, ServesTensors):
        # These need NumPy, which a runtime without tensors need not have.
        from cnet.inference.openinference.routes import OpenInference
        from cnet.inference.tensors import routes
        from cnet.inference.tensors.batching import Batches

        batches = Batches(runtime, metrics)
        open_inference = OpenInference(runtime, batches, name=name)
        if isinstance(runtime, PredictsTensors):
            predict = routes.predict(runtime, batches)
    return InferenceServer(
        runtime,
        lanes,
        name=name,
        max_body_bytes=max_body_bytes,
        request_timeout_s=request_timeout_s,
        metrics=metrics,
        predict=predict,
        open_inference=open_inference,
        more={
            "/metrics": _metrics(metrics, name, kind),
            "/openapi.json": AtOnce(lambda: success(document(runtime, name=name)), "/openapi.json"),
        },
    )


def _metrics(metrics: Metrics, name: str, kind: str) -> Aside:
    about = {"model": name, "runtime": kind, "version": __version__}

    def answer(accept: str) -> Reply:
        # Imported by those services that are asked for it.
        from cnet.inference.exposition import Exposition

        body, content_type = Exposition(metrics, about).write(accept)
        return Reply(200, body, media_type=content_type.encode())

    return Aside(answer, "/metrics")
