"""`/api/register`, `/api/heartbeat` and the like: nodes that have no link (contract 5).

Agents of this version speak over links. These routes remain for scripts and for agents of earlier
generations: such a node is shown, and given nothing to do.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.responses import Response

from cnet.api import schemas
from cnet.api.bodies import described, read_body
from cnet.api.context import ApiContext, Context
from cnet.api.document import Responses, answer, errors
from cnet.api.errors import json_response
from cnet.model.workload import Requirements
from cnet.register.view import Description

router = APIRouter(prefix="/api", tags=["registration"])


class RegisteredResources(BaseModel):
    """What a node says of itself; other keys of a node object may stand beside these."""

    model_config = ConfigDict(frozen=True)

    total: Requirements = Field(default_factory=Requirements)
    available: Requirements | None = Field(None, description="default: all of it")
    address: str = Field("", max_length=512, description="`host:port` where it may be called")
    metadata: dict[str, str] | None = Field(None, max_length=64)


class NodeName(BaseModel):
    """Which node is meant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    node_id: str = Field(min_length=1, max_length=128, pattern=r"^[^\s/]+$")

    @field_validator("node_id")
    @classmethod
    def _printable(cls, node_id: str) -> str:
        if not node_id.isprintable():
            raise ValueError("must be printable")
        return node_id


class Registration(NodeName):
    """A node and its room."""

    resources: RegisteredResources


_REGISTRATION = described(
    Registration,
    node_id="old-agent",
    resources={"total": {"cpu": 4, "memory": 8589934592}, "address": "192.168.1.7:8080"},
)
_REGISTERED: Responses = {
    200: answer(schemas.RegisteredBody),
    **errors(400, 409, 413, 415, 422),
}
_NOTED: Responses = {
    200: answer(schemas.MessageBody),
    **errors(400, 404, 409, 413, 415, 422),
}


@router.post(
    "/register",
    summary="Register a node below this one",
    openapi_extra=_REGISTRATION,
    responses=_REGISTERED,
)
async def register(request: Request, context: Context) -> Response:
    """It is shown as a child, and as unreachable 90 s after its last heartbeat."""
    return await _register(request, context, "child")


@router.post(
    "/peer/register",
    summary="Register a node beside this one",
    openapi_extra=_REGISTRATION,
    responses=_REGISTERED,
)
async def register_peer(request: Request, context: Context) -> Response:
    """It is shown as a peer, and as unreachable 90 s after its last heartbeat."""
    return await _register(request, context, "peer")


async def _register(
    request: Request, context: ApiContext, node_type: Literal["child", "peer"]
) -> Response:
    body = await read_body(request, Registration)
    context.exchange.register(node_type, body.node_id, _description(body.resources))
    address = context.manager.own_node.address or context.base_url.partition("://")[2]
    answer: dict[str, Any] = {
        "message": f"node {body.node_id} is registered",
        "parent_node": {"node_id": context.manager.node_id, "address": address},
    }
    return json_response(answer)


@router.post(
    "/heartbeat",
    summary="Say that a registered node is still there",
    openapi_extra=_REGISTRATION,
    responses=_NOTED,
)
async def heartbeat(request: Request, context: Context) -> Response:
    """Takes the place of what it said before; 404 asks it to register again."""
    body = await read_body(request, Registration)
    context.exchange.heartbeat(body.node_id, _description(body.resources))
    return json_response({"message": f"heartbeat of {body.node_id} taken"})


@router.post(
    "/unregister", summary="Forget a node", openapi_extra=described(NodeName), responses=_NOTED
)
@router.post(
    "/peer/unregister",
    summary="Forget a peer",
    openapi_extra=described(NodeName),
    responses=_NOTED,
    name="unregister_peer",
)
async def unregister(request: Request, context: Context) -> Response:
    """One that registered, or one whose links are lost and that will not come back."""
    body = await read_body(request, NodeName)
    context.exchange.unregister(body.node_id)
    return json_response({"message": f"node {body.node_id} is forgotten"})


def _description(resources: RegisteredResources) -> Description:
    available = resources.total if resources.available is None else resources.available
    return Description(
        capacity=resources.total.to_resources(),
        available=available.to_resources(),
        address=resources.address,
        labels=resources.metadata or {},
    )
