"""`/api/workloads/{workload_id}/exec`: run a command inside a workload that runs."""

from __future__ import annotations

from collections.abc import Awaitable

from fastapi import APIRouter, Request, WebSocket
from starlette.responses import Response

from cnet.api import schemas
from cnet.api.bodies import described, media_type_of, read_body
from cnet.api.context import ApiContext, Context
from cnet.api.document import answer, errors
from cnet.api.execs.frames import MEDIA_TYPE
from cnet.api.execs.serving import CollectedAnswer, Conversation, Run
from cnet.api.execs.sockets import SocketBridge
from cnet.api.holders import node_of
from cnet.api.relay import Relayed
from cnet.api.routes.workloads import WorkloadId
from cnet.cluster.sockets import AcceptedSocket
from cnet.errors import CnetError, ForbiddenError
from cnet.executors.execs import Console, ExecRequest

router = APIRouter(prefix="/api/workloads", tags=["workloads"])

BODY = described(ExecRequest, command=["ls", "-l", "/"])


@router.post(
    "/{workload_id}/exec",
    summary="Run a command inside a workload",
    openapi_extra=BODY,
    responses={
        200: answer(schemas.ExecBody),
        **errors(400, 403, 404, 409, 413, 415, 422, 503, 507),
    },
)
async def exec_in(workload_id: WorkloadId, request: Request, context: Context) -> Response:
    """Answered when the command has ended, with what it has said.

    The same path is a WebSocket for a conversation with the command, see `docs/api.md`.
    """
    node_id = await _node_of(context, workload_id, over_link="cnet.link" in request.scope)
    if node_id != context.manager.node_id:
        return Relayed(context.links.app_for(node_id))
    run = _run_of(context, workload_id)
    if media_type_of(request) == MEDIA_TYPE:
        return Conversation(run)
    collected = CollectedAnswer(await read_body(request, ExecRequest))
    return await collected.respond(run, request.receive)


async def _node_of(context: ApiContext, workload_id: str, *, over_link: bool) -> str:
    """Whom to ask; an agent that was asked itself looks no further than its own book."""
    if not over_link:
        return await node_of(context, workload_id)
    return context.manager.get(workload_id).status.host or context.manager.node_id


def _run_of(context: ApiContext, workload_id: str) -> Run:
    """Raises ForbiddenError where this node lets nobody do so."""
    if not context.allow_exec:
        raise ForbiddenError(
            f"agent.allow_exec is false on {context.manager.node_id}: no command is run inside its "
            "workloads"
        )

    def run(wanted: ExecRequest, console: Console) -> Awaitable[int]:
        return context.manager.exec(workload_id, wanted, console)

    return run


@router.websocket("/{workload_id}/exec")
async def converse(workload_id: str, websocket: WebSocket) -> None:
    """A conversation with a command: the first message is the request."""
    context: ApiContext = websocket.app.state.context
    socket = AcceptedSocket(websocket.scope, websocket.receive, websocket.send)
    await socket.accept()
    bridge = SocketBridge(socket)
    try:
        app = context.links.app_for(await node_of(context, workload_id))
    except CnetError as error:
        await bridge.refuse(error)
        return
    await bridge.run(app, websocket.scope)
