"""`/api/services`: replicas under one name; versions, traffic, scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from cnet._support import clock
from cnet.api import render_services as render
from cnet.api import schemas
from cnet.api.bodies import Model, described, read_body
from cnet.api.context import ApiContext, Context
from cnet.api.document import answer, errors
from cnet.api.errors import json_response
from cnet.api.relay import Relayed
from cnet.errors import NotFoundError, UnreachableError
from cnet.services import Service, changes
from cnet.services.record import (
    ServiceRecord,
    ServiceRollback,
    ServiceScale,
    ServiceSpec,
    ServiceTraffic,
    ServiceUpdate,
)

router = APIRouter(prefix="/api/services", tags=["services"])

ServiceName = Annotated[str, Path(max_length=128, description="name of a service")]
Wait = Annotated[
    bool,
    Query(description="false: answer as soon as the wish is durable, not when it has come true"),
]
SETTLE_S = 240.0
"""The longest a request waits for what was asked to come true; then it tells how it stands."""

_SERVICE = answer(schemas.ServiceBody)


@router.post(
    "",
    status_code=201,
    summary="Make a service",
    openapi_extra=described(
        ServiceSpec,
        name="iris",
        template={"type": "mlmodel", "config": {"model_path": "/models/iris.onnx"}},
        replicas=2,
    ),
    responses={
        201: _SERVICE,
        200: _SERVICE | {"description": "Made before, just so"},
        **errors(400, 409, 413, 415, 422, 507),
    },
)
async def create(request: Request, context: Context, wait: Wait = True) -> Response:
    """Replicas of one workload under one name. The agent that is asked owns it from then on.

    Durable before this is answered; answered when all replicas are ready, or cannot be so soon.
    """
    spec = await read_body(request, ServiceSpec)
    service, new = await context.services.create(spec)
    return await _answer(request, context, service, wait, status=201 if new else 200)


@router.get("", summary="List services", responses={200: answer(schemas.ServiceList), **errors()})
async def list_services(context: Context) -> Response:
    """All that this agent knows of, by name: in full those it owns, of others what routers know."""
    own = {
        service.record.name: render.service(service, context.manager, {})
        for service in context.services.all()
    }
    known = {
        routed.name: render.known(routed)
        for routed in context.directory.all_routed()
        if routed.owner != context.manager.node_id
    }
    shown = [body for _, body in sorted((known | own).items())]
    return json_response({"services": shown, "count": len(shown)})


@router.get(
    "/{name}",
    summary="Look at a service",
    responses={200: _SERVICE, **errors(404, 422, 503)},
)
async def get_service(name: ServiceName, request: Request, context: Context) -> Response:
    """How it stands: replicas, versions and their shares of the requests."""
    if (there := _by_owner(request, context, name)) is not None:
        return there
    return json_response(await _shown(context, context.services.get(name)))


@router.put(
    "/{name}",
    summary="Update a service",
    openapi_extra=described(
        ServiceUpdate, template={"type": "mlmodel", "config": {"model_path": "/models/iris-2.onnx"}}
    ),
    responses={200: _SERVICE, **errors(400, 404, 409, 413, 415, 422, 503, 507)},
)
async def update(
    name: ServiceName, request: Request, context: Context, wait: Wait = True
) -> Response:
    """A new version in the place of the present ones, without a failed request.

    Its replicas are started and must be ready before the old ones are drained. With `weight` it is
    put beside them and gets that share of the requests.
    """
    return await _change(name, request, context, ServiceUpdate, changes.updated, wait)


@router.put(
    "/{name}/scale",
    summary="Set the number of replicas",
    openapi_extra=described(ServiceScale, replicas=3),
    responses={200: _SERVICE, **errors(400, 404, 409, 413, 415, 422, 503, 507)},
)
async def scale(
    name: ServiceName, request: Request, context: Context, wait: Wait = True
) -> Response:
    """So many replicas, or by load between two bounds. Those that go are drained first."""
    return await _change(name, request, context, ServiceScale, changes.scaled, wait)


@router.put(
    "/{name}/traffic",
    summary="Share the requests among versions",
    openapi_extra=described(ServiceTraffic, weights={"v1": 90, "v2": 10}),
    responses={200: _SERVICE, **errors(400, 404, 409, 413, 415, 422, 503, 507)},
)
async def traffic(
    name: ServiceName, request: Request, context: Context, wait: Wait = True
) -> Response:
    """Versions that are named serve beside each other; others are drained and stopped."""
    return await _change(name, request, context, ServiceTraffic, changes.shared, wait)


@router.post(
    "/{name}/rollback",
    summary="Go back to an earlier version",
    openapi_extra=described(ServiceRollback, version="v1"),
    responses={200: _SERVICE, **errors(400, 404, 409, 413, 415, 422, 503, 507)},
)
async def rollback(
    name: ServiceName, request: Request, context: Context, wait: Wait = True
) -> Response:
    """As an update. `version` null (or no body): the one before, or what an update under way has
    begun to replace."""
    return await _change(name, request, context, ServiceRollback, changes.rolled_back, wait)


@router.delete(
    "/{name}",
    summary="Delete a service",
    responses={
        200: answer(schemas.MessageBody),
        202: answer(schemas.MessageBody)
        | {"description": "Replicas are left on nodes out of reach"},
        **errors(404, 422, 503, 507),
    },
)
async def delete(
    name: ServiceName, request: Request, context: Context, wait: Wait = True
) -> Response:
    """It gets no more requests, its replicas finish what they have, and are deleted."""
    if (there := _by_owner(request, context, name)) is not None:
        return there
    service = await context.services.delete(name)
    if wait:
        with anyio.move_on_after(SETTLE_S):
            await service.until_gone_or_cut_off()
        if not service.gone.is_set():
            left = f"service {name} is deleted when its last replicas are gone"
            return json_response({"message": left}, status=202)
    return json_response({"message": f"service {name} deleted"})


@router.get(
    "/{name}/load",
    summary="What replicas on this node have done",
    responses={200: answer(schemas.ServiceLoadBody), **errors(422)},
)
async def load(name: ServiceName, context: Context) -> Response:
    """By version, since this agent started; the owner asks every node of a service for it."""
    loads = context.counting.loads(name, anyio.current_time())
    return json_response({"versions": loads})


@router.post(
    "/{name}/wake",
    summary="Say that a request waits",
    responses={200: answer(schemas.MessageBody), **errors(404, 422, 503)},
)
async def wake(name: ServiceName, request: Request, context: Context) -> Response:
    """A service that was scaled to none gets a replica; agents say so by themselves."""
    if (there := _by_owner(request, context, name)) is not None:
        return there
    context.services.wake(context.manager.node_id, name)
    return json_response({"message": f"service {name} woken"})


async def _change(
    name: str,
    request: Request,
    context: ApiContext,
    model: type[Model],
    change: Callable[..., ServiceRecord],
    wait: bool,
) -> Response:
    if (there := _by_owner(request, context, name)) is not None:
        return there
    context.services.get(name)
    wish = await read_body(request, model)
    service = await context.services.change(
        name, lambda record: change(record, wish, now=clock.now())
    )
    return await _answer(request, context, service, wait)


async def _answer(
    request: Request, context: ApiContext, service: Service, wait: bool, *, status: int = 200
) -> Response:
    if wait:
        with anyio.move_on_after(SETTLE_S):
            await service.until_settled()
    return json_response(await _shown(context, service), status=status)


async def _shown(context: ApiContext, service: Service) -> dict[str, Any]:
    """In full, with what its replicas have done."""
    nodes = context.services.nodes_of(service)
    return render.service(
        service, context.manager, await context.measure(service.record.name, nodes)
    )


def _by_owner(request: Request, context: ApiContext, name: str) -> Response | None:
    """The answer of the agent that owns the service; None when this one does.

    Raises NotFoundError, UnreachableError.
    """
    if context.services.find(name) is not None:
        return None
    routed = context.directory.routed(name)
    if routed is None or routed.owner == context.manager.node_id or "cnet.link" in request.scope:
        names = ", ".join(routed.name for routed in context.directory.all_routed()) or "none"
        raise NotFoundError(f"no service {name!r}; there are: {names}")
    if context.exchange.next_hop(routed.owner) is None:
        raise UnreachableError(
            f"service {name!r} belongs to {routed.owner}, which cannot be reached now",
            code="node_unreachable",
        )
    return Relayed(context.links.app_for(routed.owner))
