"""`/api/ml/models` of the first document: train, predict, look, stop."""

from __future__ import annotations

from itertools import islice
from time import perf_counter_ns
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from cnet._support.clock import rfc3339
from cnet.api import schemas
from cnet.api.bodies import described, read_body
from cnet.api.context import ApiContext, Context
from cnet.api.document import answer, answer_list, errors
from cnet.api.errors import json_response
from cnet.api.ml.bodies import DeployBody, PredictBody, in_words_of_the_body
from cnet.api.routes import workloads
from cnet.errors import CapacityError, ConflictError, NotFoundError, SpecError
from cnet.executors.training import KIND, TrainingConfig, serving_config
from cnet.manager import Manager, Workload
from cnet.model.lifecycle import Phase, wire_status
from cnet.supervision import tail

router = APIRouter(prefix="/api/ml/models", tags=["models"])

MAX_LIST = 1_000
ModelId = Annotated[str, Path(max_length=64, description="id of a model")]

DEPLOY_BODY = described(
    DeployBody,
    name="my-model",
    model_type="linear_regression",
    model_path="models/my_model.joblib",
    script_path="examples/ml_models/simple_linear_regression.py",
    command="python3",
    args=["script.py", "train", "model.joblib", "1000"],
    resources={"cpu_limit": 1.0, "memory_limit": 512000000, "disk_limit": 1000000000},
)


@router.post(
    "",
    status_code=201,
    summary="Deploy a model",
    openapi_extra=DEPLOY_BODY,
    responses={
        201: answer(schemas.ModelBody),
        200: answer(schemas.ModelBody) | {"description": "Accepted before under this id"},
        **errors(400, 409, 413, 415, 422, 507),
    },
)
async def deploy(request: Request, context: Context) -> Response:
    """Train it by a run like that of a process; answered when that runs, or waits for room.

    In `args`, the bare `script.py` and `model.<ending>` of the documents stand for `script_path`
    and `model_path`; without `args` the script is called with `train <model_path>`.
    """
    body = await read_body(request, DeployBody)
    try:
        model, new = await context.manager.submit(body.spec())
    except (SpecError, CapacityError) as error:
        raise in_words_of_the_body(error) from None
    await model.until(workloads.settled)
    return json_response(_shown(request, context, model), status=201 if new else 200)


@router.get(
    "",
    summary="List models",
    responses={200: answer_list(schemas.ModelBody), **errors(422)},
)
async def list_models(
    request: Request,
    context: Context,
    limit: Annotated[int, Query(ge=1, le=MAX_LIST)] = MAX_LIST,
    after: Annotated[str | None, Query(description="id of the last one seen")] = None,
) -> Response:
    """Oldest first, a bare array."""
    behind = workloads.after(context.manager, after, name="after")
    models = (workload for workload in behind if workload.spec.type == KIND)
    return json_response([_shown(request, context, model) for model in islice(models, limit)])


@router.get(
    "/{model_id}",
    summary="Look at a model",
    responses={200: answer(schemas.ModelBody), **errors(404, 422)},
)
async def get_model(model_id: ModelId, request: Request, context: Context) -> Response:
    """How its training stands."""
    return json_response(_shown(request, context, _model(context.manager, model_id)))


@router.delete(
    "/{model_id}",
    summary="Stop a model",
    responses={
        200: answer(schemas.MessageBody),
        202: answer(schemas.MessageBody) | {"description": "Its node cannot be reached now"},
        **errors(404, 409, 422, 503, 507),
    },
)
async def delete(model_id: ModelId, request: Request, context: Context) -> Response:
    """A training that has not ended is stopped, its record and logs are kept. A model that has
    ended, by itself or so, is unloaded and forgotten; its file stays where it is."""
    model = _model(context.manager, model_id)
    if not model.status.is_terminal:
        return await workloads.stop(model_id, request, context)
    await context.models.remove(model_id)
    return await workloads.delete(model_id, request, context)


@router.post(
    "/{model_id}/predict",
    summary="Ask a model",
    openapi_extra=described(PredictBody, input_data=5.5),
    responses={
        200: answer(schemas.PredictionBody),
        **errors(400, 404, 409, 413, 415, 422, 502, 503, 507),
    },
)
async def predict(model_id: ModelId, request: Request, context: Context) -> Response:
    """The first prediction loads the model on the node that has its file; others wait for that.

    It holds room like any workload while it is loaded: 503 when there is none now.
    """
    model = _model(context.manager, model_id)
    if (there := workloads.carried(context, model.status.host)) is not None:
        return there
    started = perf_counter_ns()
    body = await read_body(request, PredictBody)
    told = await context.models.predict(model, body.input_data, body.options)
    return json_response(told | {"duration": perf_counter_ns() - started})


@router.get(
    "/{model_id}/logs",
    summary="Read a model's logs",
    responses={
        200: {
            "content": {
                "application/json": {"schema": {"type": "array", "items": {"type": "string"}}}
            },
            "description": "Lines, oldest first",
        },
        **errors(404, 422, 503),
    },
)
async def logs(
    model_id: ModelId,
    context: Context,
    lines: Annotated[str, Query(description="from the end; 0 or less: all there is")] = "100",
    source: Annotated[str, Query(description="training, or service")] = "training",
) -> Response:
    """A bare array: the output of the training, or of the service that answers predictions."""
    if source not in {"training", "service"}:
        raise SpecError(f"source: {source!r} is not training or service", field="source")
    model = _model(context.manager, model_id)
    if (there := workloads.carried(context, model.status.host)) is not None:
        return there
    workload = model if source == "training" else context.models.find(model_id)
    keeper = None if workload is None else context.manager.keeper_of_logs(workload)
    if workload is None or keeper is None:
        return json_response([])
    path, wanted = keeper.log_path(workload.id), workloads.line_count(lines)
    found = await anyio.to_thread.run_sync(tail, path, wanted, workloads.MAX_LOG_BYTES)
    return json_response(list(found))


@router.get(
    "/{model_id}/info",
    summary="Say what a model is",
    responses={200: answer(schemas.ModelInfoBody), **errors(404, 422, 503)},
)
async def info(model_id: ModelId, request: Request, context: Context) -> Response:
    """Its training, its file, what serves it and how that stands."""
    model = _model(context.manager, model_id)
    if (there := workloads.carried(context, model.status.host)) is not None:
        return there
    body = _shown(request, context, model)
    body["ml_specific"] = {
        name: body.get(name) for name in ("model_path", "script_path", "model_type")
    }
    body["ml_specific"]["served_by"] = await _served_by(model)
    service = context.models.find(model_id)
    body["service"] = None if service is None else _service(service)
    return json_response(body)


@router.get(
    "/{model_id}/health",
    summary="Say whether a model answers",
    responses={200: answer(schemas.ModelHealthBody), **errors(404, 422, 503)},
)
async def health(model_id: ModelId, context: Context) -> Response:
    """200 when a prediction would be answered, loaded or not; else 503 with the reason."""
    model = _model(context.manager, model_id)
    if (there := workloads.carried(context, model.status.host)) is not None:
        return there
    try:
        await context.models.require_servable(model)
    except ConflictError as error:
        body = {"error": error.code, "details": error.message, "status": "unhealthy"}
        return json_response(body | {"model_status": _status(model)}, status=503)
    service = context.models.find(model_id)
    loaded = service is not None and service.status.phase is Phase.RUNNING
    return json_response({"status": "healthy", "model_status": _status(model), "loaded": loaded})


def _model(manager: Manager, model_id: str) -> Workload:
    workload = manager.get(model_id)
    if workload.spec.type != KIND:
        raise NotFoundError(f"{model_id} is a workload of type {workload.spec.type}, not a model")
    return workload


def _status(model: Workload) -> str:
    return wire_status(model.status.phase)


def _shown(request: Request, context: ApiContext, model: Workload) -> dict[str, Any]:
    """The workload in the words of the first document beside its own."""
    body = workloads.shown(request, context, model)
    held = model.spec.requirements
    body["resources"] = {
        "cpu_limit": held.cpu,
        "memory_limit": held.memory,
        "disk_limit": held.storage,
        "gpu_limit": held.gpu,
    }
    if "ended_at" in body:
        body["stopped_at"] = body["ended_at"]
    return body


async def _served_by(model: Workload) -> str | None:
    config = model.config
    if not isinstance(config, TrainingConfig):
        return None
    try:
        found = await anyio.to_thread.run_sync(serving_config, config)
    except ConflictError:
        return None
    return str(found["model_type"])


def _service(service: Workload) -> dict[str, Any]:
    status = service.status
    return {
        "id": service.id,
        "status": wire_status(status.phase),
        "status_reason": status.reason,
        "endpoint": None if status.is_terminal else status.endpoint,
        "started_at": rfc3339(status.started_at),
    }
